"""What somebody should look at now: no worker, alerts, dead letters, a full disk, unread queues, incidents."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import alerts, dead_letters, incidents, other_workers, queue
from app.core.models import Worker
from app.core.queue_pauses import Pause
from app.core.queue_stats import QueueFigures
from app.core.settings import Settings
from app.core.users import Actor
from app.core.worker_health import Health

MOST_ALERTS = 5
MOST_QUEUES = 5
MOST_INCIDENTS = 5

# A worker's machine is busy beyond use from here on, in percent.
_HIGH_CPU = 95
_HIGH_MEMORY = 92
# A GPU is hot from so many degrees below the limit at which batches are refused, or this one.
_HEAT_MARGIN = 5
_HOT_CELSIUS = 85
# A disk is nearly full with so many times the room that uploads need, or a twentieth of it, left.
_TIMES_NEEDED = 4
_SHARE_LEFT = 0.05
_ROOM_ENOUGH = 20 * 2**30


@dataclass(frozen=True)
class Concern:
    """One thing: its `kind`, whose page has more, `title` and `words` for people, since when.

    An incident has the `job_id` that it is about, was seen so many `times`, and last `at`.
    """

    kind: str
    title: str
    words: str = ""
    is_bad: bool = False
    at: datetime | None = None
    job_id: int | None = None
    times: int = 1


def everything(
    session: Session,
    settings: Settings,
    actor: Actor,
    queues: Iterable[QueueFigures],
    pauses: Mapping[str, Pause],
    *,
    health: Health,
    alive: int,
    waiting: int,
) -> list[Concern]:
    """All that needs attention now, whatever the window: a worker that is gone comes first.

    `alive` are the workers that live, `waiting` the jobs that wait for one; the others as in `look`.
    """
    found = [] if alive else [_no_worker(waiting, health)]
    if health.engine_error:
        found.append(Concern("engine", "The engine has a fault", health.engine_error, is_bad=True))
    found += look(session, settings, actor, queues, pauses)
    found += [
        Concern(
            "pause", each.queue, f"is paused by {each.paused_by}: {each.reason}", at=each.paused_at
        )
        for each in pauses.values()
    ]
    return found if actor.owner_name is not None else [*found, *_incidents(session)]


def failures(failed: int) -> list[Concern]:
    """That so many jobs failed in a window."""
    words = "1 job failed" if failed == 1 else f"{failed:,} jobs failed"
    return [Concern("failures", words)] if failed else []


def _no_worker(waiting: int, health: Health) -> Concern:
    words = (
        "1 job waits until one does" if waiting == 1 else f"{waiting:,} jobs wait until one does"
    )
    return Concern(
        "worker",
        "No worker is running",
        words if waiting else "what is sent now waits until one does",
        is_bad=waiting > 0,
        at=health.last_heartbeat_at,
    )


def _incidents(session: Session) -> list[Concern]:
    """Those that nobody has reviewed, the newest first."""
    found = incidents.list_open(session, limit=MOST_INCIDENTS + 1)
    shown = [
        Concern(
            "incident",
            each.text,
            is_bad=each.risk_level in ("high", "critical"),
            at=each.last_seen_at,
            job_id=each.job_id,
            times=each.occurrences,
        )
        for each in found[:MOST_INCIDENTS]
    ]
    if len(found) > MOST_INCIDENTS:
        shown.append(Concern("incidents", "More incidents are open than these"))
    return shown


def look(
    session: Session,
    settings: Settings,
    actor: Actor,
    queues: Iterable[QueueFigures],
    paused: Collection[str],
) -> list[Concern]:
    """What `actor` may know of, the worst first. `queues` are those that it sees, with what waits."""
    workers = _live_workers(session, settings.worker_stale_seconds)
    found = [] if actor.owner_filter is not None else [*_alerts(session), *_disk(settings)]
    found += [*_unread(session, settings, workers, queues, paused), *_machines(settings, workers)]
    found += _letters(session, actor.owner_filter)
    return sorted(found, key=lambda each: not each.is_bad)


def _alerts(session: Session) -> list[Concern]:
    found = sorted(alerts.open_alerts(session).values(), key=lambda each: each.since)
    shown = [
        Concern("alert", each.rule_name, each.text, is_bad=True, at=each.since)
        for each in found[:MOST_ALERTS]
    ]
    if len(found) > MOST_ALERTS:
        shown.append(
            Concern("alert", f"{len(found) - MOST_ALERTS} more alerts", "fire", is_bad=True)
        )
    return shown


def _letters(session: Session, owner_id: int | None) -> list[Concern]:
    count = dead_letters.count_unheard(session, owner_id)
    if not count:
        return []
    number = f"{count:,}" + ("+" if count == dead_letters.MOST_COUNTED else "")
    return [
        Concern(
            "letters",
            f"{number} dead {'letter' if count == 1 else 'letters'}",
            "no webhook or mailbox took " + ("it" if count == 1 else "them"),
        )
    ]


def _disk(settings: Settings) -> list[Concern]:
    """By the room that uploads need; without such a limit, nobody minds."""
    if not settings.min_free_disk_bytes:
        return []
    disk = shutil.disk_usage(settings.var_path)
    room = min(disk.total * _SHARE_LEFT, _ROOM_ENOUGH)
    if disk.free >= max(settings.min_free_disk_bytes * _TIMES_NEEDED, room):
        return []
    is_bad = disk.free < settings.min_free_disk_bytes
    return [
        Concern(
            "disk",
            "The disk is full" if is_bad else "The disk is nearly full",
            f"{disk.free / 2**30:.1f} GiB of {disk.total / 2**30:.0f} GiB are free in the data folder"
            + ("; no file can be taken" if is_bad else ""),
            is_bad=is_bad,
        )
    ]


def _machines(settings: Settings, workers: Sequence[Worker]) -> list[Concern]:
    limit = settings.gpu_max_celsius
    hot = limit - _HEAT_MARGIN if limit else _HOT_CELSIUS
    figures: tuple[tuple[str, float, str, str], ...] = (
        ("host_cpu_percent", _HIGH_CPU, "The processors are busy", "%"),
        ("host_memory_percent", _HIGH_MEMORY, "Memory is nearly full", "%"),
        ("gpu_temperature", hot, "The GPU is hot", "°C"),
    )
    found = {}
    for worker in workers:
        for name, most, title, unit in figures:
            value = worker.metrics.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= most:
                is_bad = name == "gpu_temperature" and bool(limit) and value >= limit
                words = f"{value:.0f} {unit} on {worker.host}"
                if is_bad:
                    words += "; batches are refused while every GPU is"
                # Two workers on one machine measure the same.
                found[worker.host, name] = Concern("machine", title, words, is_bad=is_bad)
    return list(found.values())


def _unread(
    session: Session,
    settings: Settings,
    workers: Sequence[Worker],
    queues: Iterable[QueueFigures],
    paused: Collection[str],
) -> list[Concern]:
    """Queues with work that nobody reads and nobody has paused.

    Without any worker of ours, our own are not named: that is said once. Which queues the workers
    of another app read, they don't tell; so its queues count as read while one of them lives.
    """
    prefix = queue.model_queue("")
    models = {model for worker in workers for model in worker.models}
    others_live = other_workers.may_live(session, settings.worker_stale_seconds)
    found = []
    for each in queues:
        waiting = each.counts["pending"] + each.counts["retrying"]
        if not waiting or each.name in paused:
            continue
        jobs = "1 job waits" if waiting == 1 else f"{waiting:,} jobs wait"
        if each.name.startswith(prefix):
            model = each.name.removeprefix(prefix)
            if workers and model not in models:
                words = f"{jobs}, and no worker that lives has the model {model}"
                found.append(Concern("queue", each.name, words, is_bad=True))
        elif each.name not in (queue.BATCHES, queue.TASKS) and not others_live:
            words = f"{jobs}, and no worker that reads it lives"
            found.append(Concern("queue", each.name, words, is_bad=True))
    if len(found) > MOST_QUEUES:
        more = f"{len(found) - MOST_QUEUES} more queues"
        found[MOST_QUEUES:] = [Concern("queue", more, "have work and no worker", is_bad=True)]
    return found


def _live_workers(session: Session, stale_seconds: float) -> Sequence[Worker]:
    heard_since = func.clock_timestamp() - timedelta(seconds=stale_seconds)
    return session.scalars(
        select(Worker).where(
            Worker.kind == "worker",
            Worker.stopped_at.is_(None),
            Worker.last_heartbeat_at > heard_since,
        )
    ).all()
