"""The first page: how the server does in a window of time, what runs and waits, what needs a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g, render_template, request
from sqlalchemy.orm import Session

from app.core import (
    admission,
    attention,
    coming,
    engines,
    job_stats,
    job_types,
    overview,
    queue,
    queue_pauses,
    queue_stats,
    standing,
    worker_health,
)
from app.core.attention import Concern
from app.core.coming import Coming
from app.core.shared_answers import SharedAnswers
from app.core.stats import StatsCache, if_many
from app.extensions import current_settings, db
from app.pages import machines, sparks, timeline_brief, window_charts
from app.pages.display import about, number
from app.pages.fragments import here, told_at, wants_fragment
from app.pages.window import Window

blueprint = Blueprint("home", __name__)

_FIRST_BATCH = """\
. {env}
.venv/bin/python - <<'END'
from openai import OpenAI
client = OpenAI()    # OPENAI_BASE_URL={url} and OPENAI_API_KEY
file = client.files.create(file=open("examples/first_batch.jsonl", "rb"), purpose="batch")
print(client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id)
END"""


@dataclass(frozen=True)
class ServedModel:
    """A model of the registry, and whether it is in the engine now."""

    name: str
    endpoints: tuple[str, ...]
    is_loaded: bool


@dataclass(frozen=True)
class Figures:
    """What is dear to count, and the same for all who look at one window."""

    series: overview.Series
    types: list[job_stats.TaskStats]
    queues: list[queue_stats.QueueFigures]
    known_types: list[str]


# Every viewer asks again at each change: what is dear to sum up may take a hundredth of a core.
_figures = StatsCache[Figures](
    patience=100.0, lasts=lambda figures: if_many(figures.series.whole.ended)
)
_open = StatsCache[overview.Open](
    patience=5.0, lasts=lambda open: if_many(open.running + open.waiting + open.scheduled)
)


@dataclass(frozen=True)
class Now:
    """How things stand, as all see it who look at one window; times are the reader's own affair."""

    queue: dict[str, Any]
    latest: Sequence[Any]
    coming: Sequence[Coming]
    open: overview.Open
    health: worker_health.Health
    machine: queue_stats.Machine
    alive: int
    pauses: dict[str, queue_pauses.Pause]
    concerns: list[Concern]
    holds: dict[int, str]


# Those who were told of the same change ask at once: what one of them reads serves them all.
_now = SharedAnswers[Now]()


@blueprint.get("/")
def index() -> str:
    """The page, or only what changes on it."""
    session = db.session()
    window = Window.read(request.args)
    owner_name = g.actor.owner_name
    bind = session.get_bind()
    figures = _figures.get((bind, owner_name, window.key), lambda: _count(window, owner_name))
    now = _now.get(
        (bind, owner_name, g.actor.scopes, window.key), told_at(), lambda: _look(window, figures)
    )
    machine = max(
        machines.read(session, window), key=lambda each: each.points[-1].until, default=None
    )
    series = figures.series
    return render_template(
        "home/_now.html" if wants_fragment() else "home/index.html",
        window=window,
        here=here(),
        at=datetime.now(UTC),
        figures=figures,
        charts=window_charts.draw(series),
        beside=timeline_brief.sheet(session, window),
        sparks=sparks.draw(machine, series.since, series.until),
        **{**vars(now), "concerns": [*now.concerns, *attention.failures(series.whole.failed)]},
        models=_served_models(now.queue["worker"]["current_model"]),
        queue_sentence=_queue_sentence(now.queue),
        first_batch=first_batch_command(),
        env_file=_env_file(),
    )


def _look(window: Window, figures: Figures) -> Now:
    session, settings = db.session(), current_settings()
    owner_name = g.actor.owner_name
    asked: dict[str, Any] = {"task": window.type, "owner_name": owner_name}
    latest = overview.latest(session, since=window.since, until=window.until, **asked)
    next_jobs = overview.up_next(session, **asked)
    pauses = queue_pauses.by_queue(session)
    open_ = _count_open(session, window.type, owner_name)
    health = worker_health.look(session, settings.worker_stale_seconds)
    alive = queue_stats.count_active_workers(session, settings.worker_stale_seconds)
    return Now(
        queue=queue.overview(session),
        latest=latest,
        coming=coming.find(session, next_jobs, task=window.type, owner_id=g.actor.owner_filter),
        open=open_,
        health=health,
        machine=queue_stats.machine(),
        alive=alive,
        pauses=pauses,
        concerns=attention.everything(
            session,
            settings,
            g.actor,
            figures.queues,
            pauses,
            health=health,
            alive=alive,
            waiting=open_.waiting,
        ),
        holds=admission.reasons(session, settings, [*latest, *next_jobs]),
    )


def _count_open(session: Session, task: str | None, owner_name: str | None) -> overview.Open:
    if task is None:
        return standing.read(session, owner_name, told_at()).open
    return _open.get(
        (session.get_bind(), owner_name, task),
        lambda: overview.count_open(session, task=task, owner_name=owner_name),
    )


def _count(window: Window, owner_name: str | None) -> Figures:
    session = db.session()
    bounds: dict[str, Any] = {
        "since": window.since,
        "until": window.until,
        "owner_name": owner_name,
    }
    types = job_stats.by_task_between(session, **bounds)
    paused = list(queue_pauses.by_queue(session))
    return Figures(
        series=overview.series(session, task=window.type, **bounds),
        types=[each for each in types if window.type in (None, each.job_type)],
        queues=queue_stats.queues(session, owner_name, also=paused),
        known_types=[each.name for each in job_types.list_types(session, owner_name)],
    )


def first_batch_command() -> str:
    """What to paste to send a first batch; the key stays in the file that holds it."""
    return _FIRST_BATCH.format(env=_env_file(), url=f"{request.url_root}v1")


def _env_file() -> str:
    return str(current_settings().var / "env")


def _served_models(loaded: str | None) -> list[ServedModel]:
    registry = engines.load_registry(current_settings().models_path)
    return [
        ServedModel(name, tuple(spec.endpoints), name == loaded)
        for name, spec in registry.models.items()
    ]


def _queue_sentence(now: dict[str, Any]) -> str:
    """Like: One batch of gemma runs: 312 of 1,000 requests answered, about 40 s to go. 2 batches wait."""
    job, waiting = now["current_job"], now["queue"]
    words = "No batch runs."
    if job is not None:
        done = job["progress"]
        words = (
            f"One batch of {job['model']} runs: {number(done['completed_requests'])} of "
            f"{number(done['total_requests'])} requests answered, "
            f"{about(job['timing']['eta_seconds'])} to go."
        )
    count = "No batch waits"
    if waiting:
        count = "One batch waits" if len(waiting) == 1 else f"{number(len(waiting))} batches wait"
    if now["worker"]["status"] in ("absent", "offline"):
        return f"{words} {count}. No worker is running: batches wait until one does."
    if not waiting:
        return f"{words} {count}."
    return f"{words} {count}; the next starts in {about(waiting[0]['starts_in_seconds'])}."
