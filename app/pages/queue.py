"""The queues and who works on them: depth, age and rate, workers, and the pause of a queue."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.core import engines, job_stats, queue_pauses, queue_stats, reasons, standing, worker_health
from app.core.errors import Invalid, NotFound, Refused, StokerError
from app.core.models import Worker
from app.core.queue_stats import QueueFigures
from app.core.search_syntax import quoted
from app.core.shared_answers import SharedAnswers
from app.core.stats import StatsCache, if_many
from app.core.tallies import Tallies
from app.core.users import authorize
from app.extensions import current_settings, db
from app.pages.fragments import here, told_at, wants_fragment

blueprint = Blueprint("queue", __name__, url_prefix="/queue")


@dataclass(frozen=True)
class Figures:
    """The queues, and all of them together."""

    totals: job_stats.Totals
    queues: list[QueueFigures]


# A day's averages of many jobs do not change from one second to the next.
_recent = StatsCache[Tallies](seconds=10.0, lasts=lambda recent: if_many(_ended(recent)))


def _ended(recent: Tallies) -> int:
    return sum(tally.jobs for by_status in recent.values() for tally in by_status.values())


@dataclass(frozen=True)
class SeenWorker:
    """What is shown of a process that works, or did."""

    id: UUID
    kind: str
    name: str
    host: str
    pid: int
    status: str
    last_heartbeat_at: datetime
    stopped_at: datetime | None
    current_model: str | None
    engine_error: str | None
    running_job_ids: tuple[int, ...]
    metrics: dict[str, Any]

    @classmethod
    def of(cls, worker: Worker) -> SeenWorker:
        names = [each.name for each in fields(cls)]
        shown = {name: getattr(worker, name) for name in names}
        return cls(**{**shown, "running_job_ids": tuple(worker.running_job_ids)})


@dataclass(frozen=True)
class Now:
    """How things stand, as all of one user's pages show it."""

    figures: Figures
    pauses: dict[str, queue_pauses.Pause]
    workers: list[SeenWorker]
    types: dict[int, str]  # of the running jobs that the reader may see
    alive: int
    health: worker_health.Health
    machine: queue_stats.Machine
    cleanup: queue_stats.Cleanup


# Those who were told of the same change ask at once: what one of them reads serves them all.
_now = SharedAnswers[Now]()


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    key = (db.session().get_bind(), g.actor.owner_name)
    return render_template(
        "queue/_now.html" if wants_fragment() else "queue/index.html",
        here=here(),
        at=datetime.now(UTC),
        **vars(_now.get(key, told_at(), _look)),
        stale_seconds=current_settings().worker_stale_seconds,
        may_pause="operate" in g.actor.scopes,
        sees_all=g.actor.owner_name is None,
        quoted=quoted,
    )


def _look() -> Now:
    session = db.session()
    stale_seconds = current_settings().worker_stale_seconds
    owner_name = g.actor.owner_name
    pauses = queue_pauses.by_queue(session)
    workers = [SeenWorker.of(each) for each in queue_stats.list_workers(session)]
    running = [job_id for worker in workers for job_id in worker.running_job_ids]
    return Now(
        figures=_count(list(pauses)),
        pauses=pauses,
        workers=workers,
        types=queue_stats.types_of(session, running, owner_name),
        alive=queue_stats.count_active_workers(session, stale_seconds),
        health=worker_health.look(session, stale_seconds),
        machine=queue_stats.machine(),
        cleanup=queue_stats.last_cleanup(session),
    )


def _count(paused: list[str]) -> Figures:
    session = db.session()
    owner_name = g.actor.owner_name
    recent = _recent.get(
        (session.get_bind(), owner_name), lambda: queue_stats.count_recent(session, owner_name)
    )
    now = standing.read(session, owner_name, told_at())
    queues = queue_stats.queues(session, owner_name, also=paused, ever=now.by_queue, recent=recent)
    return Figures(queue_stats.totals(queues), queues)


@blueprint.get("/<path:name>/pause")
def ask_to_pause(name: str) -> str:
    """Ask why, before a queue is paused."""
    return _ask(name, is_pause=True)


@blueprint.post("/<path:name>/pause")
def pause(name: str) -> ResponseReturnValue:
    """Let no worker fetch from a queue."""
    authorize(g.actor, "operate")
    session = db.session()
    reason = request.form.get("reason", "")
    try:
        queue_pauses.pause(session, name, reason, g.actor.label, models=_models())
    except (Invalid, Refused) as refusal:
        session.rollback()
        return _ask(name, is_pause=True, refusal=refusal), refusal.http_status
    session.commit()
    return redirect(url_for("queue.index"), 303)


@blueprint.get("/<path:name>/resume")
def ask_to_resume(name: str) -> str:
    """Say who paused a queue and why, before it is resumed."""
    return _ask(name, is_pause=False)


@blueprint.post("/<path:name>/resume")
def resume(name: str) -> ResponseReturnValue:
    """Let workers fetch from a queue again."""
    authorize(g.actor, "operate")
    session = db.session()
    try:
        queue_pauses.resume(session, name, g.actor.label, models=_models())
    except Refused as refusal:
        session.rollback()
        return _ask(name, is_pause=False, refusal=refusal), refusal.http_status
    session.commit()
    return redirect(url_for("queue.index"), 303)


def _ask(name: str, *, is_pause: bool, refusal: StokerError | None = None) -> str:
    authorize(g.actor, "operate")
    session = db.session()
    pauses = queue_pauses.by_queue(session)
    known = {each.name for each in queue_stats.queues(session, also=[*pauses, *_own()])}
    if name not in known:
        raise NotFound(f"There is no queue {name[:100]!r}.", param="name")
    return render_template(
        "queue/ask.html",
        name=name,
        is_pause=is_pause,
        pause=pauses.get(name),
        refusal=refusal,
        reason=request.form.get("reason", ""),
        longest=reasons.LONGEST,
    )


def _own() -> list[str]:
    return queue_pauses.own_queues(_models())


def _models() -> list[str]:
    return list(engines.load_registry(current_settings().models_path).models)
