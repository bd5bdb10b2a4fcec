"""The results of a batch, from its files or, while it runs, from the database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click
from sqlalchemy.orm import Session

from app.core import batches, files, results
from app.core.errors import Conflict, NotFound
from app.core.models import Batch
from app.core.settings import Settings

_BLOCK_BYTES = 1024**2


def download(
    session: Session,
    settings: Settings,
    batch: Batch,
    output: Path | None,
    *,
    errors: bool,
    partial: bool,
) -> dict[str, Any]:
    """Write the answers, or with `errors` what failed, to `output` or else to standard output.

    Returns what was written. Raises Conflict while the batch runs, unless `partial` asks for what
    there is, and NotFound when there is no such file.
    """
    is_final = batches.is_final(batch)
    if is_final:
        parts = _from_file(session, settings, batch, errors=errors)
    elif partial:
        parts = _from_database(session, batch, errors=errors)
    else:
        raise Conflict(
            f"The batch is {batch.status}: --partial gives what there is, `flask batches show "
            f"{batch.id} --watch` waits for its end."
        )
    try:
        written = _write(parts, output)
    except OSError as fault:
        raise click.ClickException(f"{output or 'Standard output'}: {fault.strerror}.") from fault
    path = None if output is None else str(output)
    return {"batch_id": batch.id, "path": path, **written, "is_partial": not is_final}


def _from_file(
    session: Session, settings: Settings, batch: Batch, *, errors: bool
) -> Iterator[bytes]:
    file_id = batch.error_file_id if errors else batch.output_file_id
    if file_id is None:
        raise NotFound(
            f"No request of the batch {batch.id} failed."
            if errors and batch.status == "completed"
            else f"The batch {batch.id} is {batch.status} and has no such file: "
            f"`flask batches show {batch.id}` says more."
        )
    path = files.path(settings, files.get(session, file_id, None).id)
    if not path.exists():
        raise NotFound(
            f"The file {file_id} is not in the data folder {settings.var_path}: STOKER_VAR names it."
        )
    return _blocks(path)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            yield block


def _from_database(session: Session, batch: Batch, *, errors: bool) -> Iterator[bytes]:
    line = 0
    while True:
        lines, line = results.read_page(
            session, batch.number, after_line=line, is_success=not errors
        )
        session.rollback()
        if not lines:
            return
        yield b"".join(lines)


def _write(parts: Iterator[bytes], output: Path | None) -> dict[str, int]:
    if output is None:
        return _copy(parts, sys.stdout.buffer)
    target = output.resolve()
    if target.exists() and not target.is_file():
        with target.open("wb") as device:
            return _copy(parts, device)
    draft = target.with_name(f".{target.name}.part")  # a broken-off one is never taken for whole
    try:
        with draft.open("wb") as file:
            written = _copy(parts, file)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return written


def _copy(parts: Iterator[bytes], target: BinaryIO) -> dict[str, int]:
    written = {"bytes": 0, "lines": 0}
    for part in parts:
        target.write(part)
        written["bytes"] += len(part)
        written["lines"] += part.count(b"\n")
    target.flush()
    return written
