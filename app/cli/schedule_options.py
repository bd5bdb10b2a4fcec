"""How a schedule is told on the command line: its options, and what they mean."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from app.cli.tasks import pair
from app.core.errors import Invalid
from app.core.models import MISSED_POLICIES, OVERLAP_POLICIES

Command = TypeVar("Command", bound=Callable[..., Any])
Said = TypeVar("Said", bound=BaseModel)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


when = _options(
    click.option("--cron", help="Five fields, such as '30 7 * * 1-5', or a name such as @daily."),
    click.option("--timezone", help="Of --cron, and of --at without an offset. Default: UTC."),
    click.option("--every", help="An interval, such as 90m, 2h or 1d."),
    click.option("--from", "starts_at", help="When --every begins (ISO 8601). Default: now."),
    click.option("--at", "moment", help="Once, at this time (ISO 8601)."),
)
how = _options(
    click.option("--args", "arguments", help="The task's arguments as a JSON object."),
    click.option("--queue", help="Of a task of an adopted app."),
    click.option("--priority", type=int, help="Of its jobs; a higher one goes first."),
    click.option(
        "--missed",
        "missed_policy",
        type=click.Choice(MISSED_POLICIES),
        help="Of runs that were missed none fires, one for all, or all. Default: one.",
    ),
    click.option(
        "--missed-limit", type=int, help="Of all missed runs the latest so many. Default: 10."
    ),
    click.option(
        "--overlap",
        "overlap_policy",
        type=click.Choice(OVERLAP_POLICIES),
        help="What a run does while the last job has not ended. Default: skip.",
    ),
    click.option(
        "--jitter", "jitter_seconds", type=float, help="Each run is up to so many seconds later."
    ),
)


def given(pairs: tuple[str, ...], said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, in the words of a definition."""
    times = ("cron", "timezone", "every", "starts_at", "moment", "arguments")
    found = {name: value for name, value in said.items() if value is not None and name not in times}
    wanted = trigger_said(said)
    if wanted is not None:
        found["trigger"] = wanted
    if said["arguments"] is not None:
        found["args"] = _arguments(said["arguments"])
    if pairs:
        found["args"] = {**found.get("args", {}), **dict(pair(each) for each in pairs)}
    return found


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter("--args is no JSON object.")
    return found


def trigger_said(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the options of times say, None when they say nothing."""
    kinds = [name for name in ("cron", "every", "moment") if said[name] is not None]
    if len(kinds) > 1:
        raise click.UsageError("Give one of --cron, --every and --at.")
    zone = {} if said["timezone"] is None else {"timezone": said["timezone"]}
    match kinds:
        case ["cron"]:
            return {"kind": "cron", "cron": said["cron"], **zone}
        case ["every"]:
            begins = {} if said["starts_at"] is None else {"starts_at": said["starts_at"]}
            return {"kind": "interval", "seconds": _seconds(said["every"]), **begins}
        case ["moment"]:
            return {"kind": "once", "at": said["moment"], **zone}
        case _:
            if zone or said["starts_at"] is not None:
                raise click.UsageError("Give --cron, --every or --at.")
            return None


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if found is None:
        raise click.BadParameter(f"--every: {text!r} is no interval such as 90m, 2h or 1d.")
    return int(found[1]) * _UNITS[found[2]]


def read(kind: type[Said], said: Mapping[str, Any]) -> Said:
    """The same as a `kind`. Raises Invalid."""
    try:
        return kind.model_validate(said)
    except ValidationError as fault:
        raise refusal(fault) from None


def refusal(fault: ValidationError) -> Invalid:
    """The first fault in one sentence."""
    first: Any = fault.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][-1]) if first["loc"] else "trigger"
    if first["type"] == "missing":
        return Invalid(
            "Give --cron, --every or --at." if name == "trigger" else f"{name} is missing."
        )
    return Invalid(f"{name}: {str(first['msg']).removeprefix('Value error, ')}.", param=name)
