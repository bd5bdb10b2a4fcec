"""Two to four batches side by side, and where their answers differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from flask import Blueprint, g, render_template, request, url_for

from app.core import batch_comparison, batch_differences
from app.core.batch_comparison import Compared
from app.core.batch_differences import Difference, Side
from app.core.history import native_status
from app.core.models import Batch
from app.extensions import current_settings, db
from app.pages.display import duration, number, rate
from app.pages.fragments import wants_fragment

blueprint = Blueprint("history_compare", __name__, url_prefix="/history/compare")

_NONE = "–"
# So much of an answer is shown around the place where it differs from the others.
_BEFORE, _SHOWN = 60, 320


@dataclass(frozen=True)
class Row:
    """One thing that is compared: a value for each batch, in words."""

    word: str
    values: list[str]
    is_mono: bool = False

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Section:
    """Rows under a heading; `note` says how far they go. The last figures are a status's."""

    title: str
    rows: list[Row]
    note: str = ""

    @property
    def different(self) -> int:
        return sum(row.differs for row in self.rows)


@blueprint.get("")
def show() -> str:
    """The page, or only the differences from a cursor on."""
    session = db.session()
    batches = batch_comparison.find(session, _ids(), g.actor.owner_filter)
    cursor = request.args.get("cursor") or None
    differences = batch_differences.page(session, batches, cursor=cursor)
    links = {
        "first_url": _url(batches),
        "next_url": _url(batches, differences.next_cursor) if differences.next_cursor else None,
    }
    if wants_fragment():
        return render_template(
            "history/_differences.html",
            batches=batches,
            differences=differences,
            cursor=cursor,
            excerpt=excerpt,
            **links,
        )
    found = batch_comparison.compare(session, current_settings(), batches)
    return render_template(
        "history/compare.html",
        batches=batches,
        statuses=[native_status(batch) for batch in batches],
        sections=sections(found),
        differences=differences,
        cursor=cursor,
        excerpt=excerpt,
        **links,
    )


def _ids() -> list[str]:
    """Each given by itself, or all between commas."""
    given = [part.strip() for value in request.args.getlist("ids") for part in value.split(",")]
    return [each for each in given if each and "\0" not in each]


def _url(batches: Sequence[Batch], cursor: str | None = None) -> str:
    ids = ",".join(batch.id for batch in batches)
    return url_for("history_compare.show", ids=ids, cursor=cursor)


def sections(found: Sequence[Compared]) -> list[Section]:
    """All that is compared, apart from the answers."""
    return [
        Section(
            "Settings",
            [_row(word, found, value, _text) for word, value in batch_comparison.SETTINGS],
        ),
        Section(
            "Engine",
            [
                Row(word, _texts(values), True)
                for word, values in batch_comparison.engine_settings(found)
            ],
        ),
        Section(
            "Parameters of the requests",
            [
                Row(word, _texts(values), True)
                for word, values in batch_comparison.parameter_settings(found)
            ],
            _read_note(found),
        ),
        Section("Requests and tokens", _counts(found)),
        Section("Times", _times(found)),
        Section(
            "Errors",
            [
                Row(kind, [number(count) if count else _NONE for count in counts])
                for kind, counts in batch_comparison.error_kinds(found)
            ],
            f"Of the first {number(batch_comparison.FAILURES_READ)} failures."
            if any(each.errors.is_cut for each in found)
            else "",
        ),
    ]


def _read_note(found: Sequence[Compared]) -> str:
    lines = [each.parameters.lines for each in found]
    if not any(lines):
        return "The input files are no longer kept, so their parameters are not known."
    gone = " A file is no longer kept." if not all(lines) else ""
    read = " and ".join(number(each) for each in sorted(set(lines)) if each)
    return f"As far as the first {read} lines show.{gone}"


def _counts(found: Sequence[Compared]) -> list[Row]:
    counts: tuple[tuple[str, Callable[[Compared], float]], ...] = (
        ("Requests", lambda each: each.batch.total),
        ("Completed", lambda each: each.batch.completed),
        ("Failed", lambda each: each.batch.failed),
        ("Tokens read", lambda each: each.batch.input_tokens),
        ("of these from the cache", lambda each: each.batch.cached_tokens),
        ("Tokens written", lambda each: each.batch.output_tokens),
        ("of these reasoning", lambda each: each.batch.reasoning_tokens),
        ("Engine restarts survived", lambda each: each.batch.engine_deaths),
    )
    return [_row(word, found, value, number) for word, value in counts]


def _times(found: Sequence[Compared]) -> list[Row]:
    return [
        _row("Waited in the queue", found, lambda each: each.wait_seconds, duration),
        _row("Loading the model", found, lambda each: each.batch.model_load_seconds, duration),
        _row("Ran", found, lambda each: each.run_seconds, duration),
        _row("Throughput", found, lambda each: each.requests_per_second, rate),
        _row("Tokens per second", found, lambda each: each.tokens_per_second, _per_second),
    ]


def _per_second(value: float) -> str:
    return f"{number(value)} tokens/s"


def _row(
    word: str,
    found: Sequence[Compared],
    value: Callable[[Compared], object],
    words: Callable[..., str],
) -> Row:
    values = [value(each) for each in found]
    return Row(word, [_NONE if each is None else words(each) for each in values])


def _texts(values: Sequence[object]) -> list[str]:
    return [_NONE if value is None else _text(value) for value in values]


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case [*parts]:
            return " ".join(str(part) for part in parts)
        case dict():
            return (
                ", ".join(f"{name} {each}" for name, each in sorted(value.items()))
                or "the engine's own"
            )
    return orjson.dumps(value).decode()


@dataclass(frozen=True)
class Excerpt:
    """Some of an answer: what all have in common, and from where on it is its own."""

    same: str
    own: str


def excerpt(difference: Difference, side: Side) -> Excerpt:
    """What is shown of a side: its words around the place where it parts from the others."""
    words = side.words or ""
    parts_at = difference.differs_at
    if parts_at is None:
        return Excerpt(words[:_SHOWN] + _rest(words, _SHOWN), "")
    begin = max(0, parts_at - _BEFORE)
    same = ("… " if begin else "") + words[begin:parts_at]
    return Excerpt(same, words[parts_at : begin + _SHOWN] + _rest(words, begin + _SHOWN))


def _rest(words: str, end: int) -> str:
    return " …" if len(words) > end else ""
