"""Two to four batches side by side: what was asked for, what ran it, how long it took, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import exchanges, history
from app.core.batch_requests import read_lines
from app.core.errors import Invalid, NotFound
from app.core.models import Batch, Request, Result
from app.core.settings import Settings

FEWEST, MOST = 2, 4
# So many lines are read to see which parameters all of them share.
LINES_READ = 200
# So many failed requests are looked at for their kinds.
FAILURES_READ = 5_000
# Said instead of a value.
VARIES = "varies from line to line"


@dataclass(frozen=True)
class Parameters:
    """Those that the first lines of a batch's file have in common, by name, as JSON.

    `lines` is how many were read: 0 where the file is gone.
    """

    lines: int
    values: dict[str, str]


@dataclass(frozen=True)
class Errors:
    """How many requests failed in which way, most first; of the first FAILURES_READ, if `is_cut`."""

    kinds: dict[str, int]
    is_cut: bool


@dataclass(frozen=True)
class Compared:
    """One batch with what is compared of it. Times are seconds, rates per second of running."""

    batch: Batch
    parameters: Parameters
    errors: Errors
    wait_seconds: float | None
    run_seconds: float | None
    requests_per_second: float | None
    tokens_per_second: float | None


def find(session: Session, ids: Sequence[str], owner_id: int | None) -> list[Batch]:
    """The batches in the order of their ids. Raises Invalid (too few or many), NotFound."""
    wanted = list(dict.fromkeys(ids))
    if not FEWEST <= len(wanted) <= MOST:
        raise Invalid(
            f"ids must name {FEWEST} to {MOST} different batches; it names {len(wanted)}.",
            param="ids",
        )
    query = select(Batch).where(Batch.id.in_(wanted))
    if owner_id is not None:
        query = query.where(Batch.owner_id == owner_id)
    found = {batch.id: batch for batch in session.scalars(query)}
    for batch_id in wanted:
        if batch_id not in found:
            raise NotFound(f"There is no batch {batch_id!r}.", param="ids", code="not_found")
    return [found[batch_id] for batch_id in wanted]


def compare(session: Session, settings: Settings, batches: Sequence[Batch]) -> list[Compared]:
    """What there is to compare of each."""
    return [_compared(session, settings, batch) for batch in batches]


def _compared(session: Session, settings: Settings, batch: Batch) -> Compared:
    run = history.run_seconds(batch)
    began = batch.in_progress_at
    tokens = batch.input_tokens + batch.output_tokens
    return Compared(
        batch=batch,
        parameters=_parameters(session, settings, batch),
        errors=_errors(session, batch),
        wait_seconds=(began - batch.created_at).total_seconds() if began else None,
        run_seconds=run,
        requests_per_second=(batch.completed + batch.failed) / run if run else None,
        tokens_per_second=tokens / run if run else None,
    )


def _parameters(session: Session, settings: Settings, batch: Batch) -> Parameters:
    requests = session.scalars(
        select(Request)
        .where(Request.batch_number == batch.number)
        .order_by(Request.line)
        .limit(LINES_READ)
    ).all()
    lines = [line for line in read_lines(settings, batch.input_file_id, requests) if line]
    bodies = [_body(line) for line in lines]
    values: dict[str, set[str]] = {}
    for body in bodies:
        for name, value in exchanges.parameters(body).items():
            values.setdefault(name, set()).add(orjson.dumps(value).decode())
    shared = {
        name: next(iter(found))
        if len(found) == 1 and all(name in body for body in bodies)
        else VARIES
        for name, found in sorted(values.items())
    }
    return Parameters(len(lines), shared)


def _body(line: str) -> dict[str, Any]:
    request = exchanges.load(line)
    body = request.get("body") if isinstance(request, dict) else None
    return body if isinstance(body, dict) else {}


def _errors(session: Session, batch: Batch) -> Errors:
    if not batch.failed:
        return Errors({}, is_cut=False)
    rows = session.execute(
        select(Result.status_code, func.left(Result.body, 4000), func.left(Result.error, 4000))
        .where(Result.batch_number == batch.number, ~Result.is_success)
        .order_by(Result.line)
        .limit(FAILURES_READ + 1)
    ).all()
    kinds: Counter[str] = Counter()
    for status_code, body, error in rows[:FAILURES_READ]:
        kind = exchanges.fault(error or body).kind[:200]
        kinds[f"{kind} ({status_code})" if status_code is not None else kind] += 1
    return Errors(dict(kinds.most_common()), is_cut=len(rows) > FAILURES_READ)


Value = Callable[[Compared], object]

SETTINGS: tuple[tuple[str, Value], ...] = (
    ("Model", lambda each: each.batch.model),
    ("Endpoint", lambda each: each.batch.endpoint),
    ("Completion window", lambda each: each.batch.completion_window),
    ("Priority", lambda each: {-1: "low", 0: "normal", 1: "high"}[each.batch.priority]),
    ("Input file", lambda each: each.batch.input_filename or each.batch.input_file_id),
)


def engine_settings(found: Sequence[Compared]) -> list[tuple[str, list[object]]]:
    """What is known of the engines: version, flags, sampling defaults, whatever was recorded."""
    names: dict[str, None] = {}
    for each in found:
        names |= dict.fromkeys(each.batch.engine or {})
    return [
        (
            f"Engine {name.replace('_', ' ')}",
            [(each.batch.engine or {}).get(name) for each in found],
        )
        for name in names
    ]


def parameter_settings(found: Sequence[Compared]) -> list[tuple[str, list[object]]]:
    """The parameters in the requests' bodies."""
    names = sorted({name for each in found for name in each.parameters.values})
    return [(name, [each.parameters.values.get(name) for each in found]) for name in names]


def error_kinds(found: Sequence[Compared]) -> list[tuple[str, list[int]]]:
    """Every kind of failure that one of them had, the most frequent first, with its counts."""
    sums: Counter[str] = Counter()
    for each in found:
        sums.update(each.errors.kinds)
    return [
        (kind, [each.errors.kinds.get(kind, 0) for each in found]) for kind, _ in sums.most_common()
    ]
