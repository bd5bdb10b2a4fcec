"""How values read on a page: numbers with their units, times, statuses, text made safe to see."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask
from markupsafe import Markup, escape

from app.core import job_types
from app.pages.preferences import preferences


@dataclass(frozen=True)
class Badge:
    """A status as word, shape (the icon's name) and colour (the tone's CSS class)."""

    word: str
    icon: str
    tone: str
    is_moving: bool = False


_BADGES = {
    "validating": Badge("Validating", "list-checks", "waiting"),
    "scheduled": Badge("Scheduled", "clock-3", "scheduled"),
    "pending": Badge("Pending", "circle", "waiting"),
    "retrying": Badge("Retrying", "timer-off", "waiting"),
    "running": Badge("Running", "contrast", "running", is_moving=True),
    "queued": Badge("Waiting", "circle", "waiting"),
    "in_progress": Badge("Running", "contrast", "running", is_moving=True),
    "finalizing": Badge("Finalizing", "contrast", "running", is_moving=True),
    "lost": Badge("Worker lost", "triangle-alert", "failed"),
    "completed": Badge("Completed", "check", "ok"),
    "failed": Badge("Failed", "x", "failed"),
    "expired": Badge("Expired", "timer-off", "failed"),
    "cancelling": Badge("Cancelling", "ban", "cancelled", is_moving=True),
    "cancelled": Badge("Cancelled", "ban", "cancelled"),
}

# C0 and C1 controls, and the marks that turn or hide text: shown instead of obeyed.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


_CODE = re.compile(r"`([^`]+)`")


def badge(status: str) -> Badge:
    """The look of a native status; an unknown one shows its own name."""
    return _BADGES.get(status.lower(), Badge(status.capitalize(), "circle", "scheduled"))


def visible(text: object) -> str:
    """The text with every control and direction mark written out, like ⟨202E⟩."""
    return _UNSEEN.sub(lambda found: f"⟨{ord(found[0]):04X}⟩", str(text))


def type_name(task: str) -> Markup:
    """What people call a type of job; the task's own name stands in the title where it is another."""
    label = job_types.label(task)
    if label == task:
        return escape(visible(task))
    return Markup('<span title="{}">{}</span>').format(visible(task), visible(label))


def by_label(tasks: Iterable[str]) -> list[str]:
    """Types in the order in which people look for them in a menu."""
    return sorted(tasks, key=lambda task: job_types.label(task).casefold())


def capital(text: str) -> str:
    """The text with its first letter large, the rest as it is."""
    return text[:1].upper() + text[1:]


def prose(text: object) -> Markup:
    """A sentence for people: what stands between backticks is set as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(visible(text)))))  # noqa: S704


def number(value: float, decimals: int = 0) -> str:
    """Like 1,820."""
    return f"{value:,.{decimals}f}"


def short_number(value: float) -> str:
    """Like 18,420 or 1.84 M: four figures at most from a million on."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.{2 - int(math.log10(value / size))}f} {unit}"
    return number(value)


def percent(share: float) -> str:
    """Like 98.1 %. Neither 0 nor 100 unless it is exactly that."""
    tenths = round(share * 1000)
    if share < 1:
        tenths = min(tenths, 999)
    if share > 0:
        tenths = max(tenths, 1)
    return "100 %" if tenths == 1000 else f"{tenths / 10:.1f} %"


def duration(seconds: float) -> str:
    """Like 0.4 s, 13.6 s, 4 min 20 s, 2 h 05 min, 3 d 4 h."""
    if round(seconds, 1) < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def about(seconds: float) -> str:
    """An estimate, no finer than it can be: a few seconds, about 40 s, about 6 min."""
    return "a few seconds" if seconds < 10 else f"about {_coarse(seconds)}"


def rate(per_second: float) -> str:
    """Requests per second; per minute or hour where that reads better."""
    if per_second >= 0.1:
        return f"{number(per_second, 0 if per_second >= 100 else 1)} req/s"
    if per_second * 60 >= 0.1:
        return f"{per_second * 60:.1f} req/min"
    return f"{per_second * 3600:.1f} req/h"


def size(count: int) -> str:
    """Bytes, like 512 B, 1.4 kB, 200 MB."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.{0 if unit == 'B' or amount >= 100 else 1}f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def ordinal(position: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    if position % 100 in (11, 12, 13):
        return f"{position:,}th"
    return f"{position:,}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(position % 10, 'th') }"


def moment(at: datetime | float) -> datetime:
    """A time as the pages know it: aware, in UTC; whole Unix seconds are understood too."""
    return at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)


def there(at: datetime | float) -> datetime:
    """A time as the reader's clock has it: in UTC, or in the zone that the reader chose."""
    return moment(at).astimezone(preferences().timezone)


def zone_word(at: datetime | float | None = None) -> str:
    """What stands behind the reader's times: UTC, CET, UTC+03. It depends on the day."""
    word = there(at or datetime.now(UTC)).tzname() or "UTC"
    return f"UTC{word}" if word[0] in "+-" else word


def clock(at: datetime | float) -> str:
    """The absolute time on the reader's clock, like 2026-11-26 14:03:09 UTC."""
    return f"{there(at):%Y-%m-%d %H:%M:%S} {zone_word(at)}"


def clocks(at: datetime | float) -> str:
    """The absolute time for tooltips: on the reader's clock, and in UTC where that is another."""
    shown = clock(at)
    return shown if shown.endswith(" UTC") else f"{shown} ({moment(at):%Y-%m-%d %H:%M:%S} UTC)"


def clock_time(at: datetime | float) -> str:
    """The time of the day alone, where the day is plain; on the reader's clock."""
    return f"{there(at):%H:%M:%S}"


def iso(at: datetime | float) -> str:
    """The absolute time for programs."""
    return moment(at).isoformat(timespec="seconds")


def ago(at: datetime | float, now: datetime | None = None) -> str:
    """The time as one says it: just now, 21 s ago, 4 min ago; also in 5 min."""
    away = ((now or datetime.now(UTC)) - moment(at)).total_seconds()
    if -5 < away < 5:
        return "just now"
    words = _coarse(abs(away))
    return f"{words} ago" if away > 0 else f"in {words}"


def _coarse(seconds: float) -> str:
    for limit, unit, word in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // unit)} {word}"
    return f"{int(seconds // 86400)} d"


def register(app: Flask) -> None:
    """Make the words above known to the templates."""
    for word in (
        about, badge, visible, capital, prose, number, short_number, percent, duration, rate, size, ordinal,
        clock, clocks, clock_time, iso, ago,
    ):  # fmt: skip
        app.add_template_filter(word)
    app.add_template_filter(job_types.label, "type_label")
    app.add_template_filter(type_name)
    app.add_template_filter(by_label)
    app.add_template_filter(job_types.description, "type_description")
    app.add_template_global(zone_word)
    app.add_template_global(time.time, "now_seconds")
