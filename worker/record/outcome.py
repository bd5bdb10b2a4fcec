"""How an attempt ended, as the record keeps it: outcome, error, result."""

from __future__ import annotations

import asyncio
import json
import os
import traceback
from pathlib import Path
from typing import Any

from procrastinate.exceptions import JobAborted

# A result of more bytes lies in a file, where a folder for them is configured.
INLINE_BYTES = 1 << 20
_REPR_CHARACTERS = 8000
_ERROR_CHARACTERS = 2000
_TRACEBACK_CHARACTERS = 20_000
# Where a result is no JSON value, or too large, an object with this key stands for it.
MARK = "$stoker"


def of(fault: BaseException | None) -> str:
    """The outcome of an attempt that ended with this exception.

    An exception may carry its own as `stoker_outcome`: "moved" when the job only goes on elsewhere.
    """
    if fault is None:
        return "completed"
    if isinstance(fault, JobAborted | asyncio.CancelledError):
        return "cancelled"
    return str(getattr(fault, "stoker_outcome", "failed"))


def error(fault: BaseException) -> dict[str, Any]:
    """The fields of the record that say what went wrong."""
    try:
        message = str(fault)
    except Exception:
        message = "(its message can't be read)"
    text = "".join(traceback.format_exception(fault))
    return {
        "error_type": type(fault).__name__,
        "error_message": message[:_ERROR_CHARACTERS],
        "traceback": text[-_TRACEBACK_CHARACTERS:],
    }


def result(value: Any, folder: Path | None, name: str) -> dict[str, Any]:
    """The fields of the record that keep a result; a large one is written to `folder`/`name`."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        said = _repr(value)
        return {
            "result": {MARK: "repr", "text": said[:_REPR_CHARACTERS]},
            "result_bytes": len(said),
        }
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= INLINE_BYTES:
        return {"result": value, "result_bytes": len(encoded)}
    mark: dict[str, Any] = {MARK: "too large", "bytes": len(encoded)}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{name}.{os.getpid()}"
        draft.write_bytes(encoded)
        draft.replace(folder / name)
        mark = {MARK: "file", "name": name, "bytes": len(encoded)}
    return {"result": mark, "result_bytes": len(encoded)}


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
