"""/metrics: the figures of the whole service for Prometheus, read from the database at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import accumulate

from flask import Blueprint, Flask, Response, g
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from app.api.openapi import describe
from app.auth import needs
from app.core import ended_jobs, job_stats, queue, queue_stats
from app.core.ended_jobs import Durations
from app.core.errors import Forbidden
from app.extensions import current_settings, db

blueprint = Blueprint("metrics", __name__)

# What a worker says of itself with each heartbeat, under its own names.
_WORKER_FIGURES = {
    "tokens_per_second": "Tokens that the engine reads and writes in a second.",
    "engine_deaths": "How often the engine has died since the worker began.",
    "memory_bytes": "Memory of the worker's process.",
    "host_memory_percent": "Memory of the machine that is in use.",
    "host_cpu_percent": "Processor time of the machine that is in use.",
    "gpu_memory_percent": "Memory of the fullest GPU that is in use.",
    "gpu_utilization": "Percentage of time in which the busiest GPU computes.",
    "gpu_temperature": "Degrees Celsius of the hottest GPU.",
}


def register(app: Flask) -> None:
    """Attach the route."""
    app.register_blueprint(blueprint)


@blueprint.get("/metrics")
@needs("read")
@describe(media="text/plain")
def show() -> Response:
    """Figures in Prometheus's text format; the key must belong to somebody who sees all jobs."""
    if g.actor.owner_filter is not None:
        raise Forbidden("The figures are of everybody's jobs: use an administrator's key.")
    registry = CollectorRegistry()
    session = db.session()
    _jobs(session, registry)
    _queues(session, registry)
    _workers(session, registry)
    registry.register(_Ended(session))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _jobs(session: Session, registry: CollectorRegistry) -> None:
    overview = job_stats.overview(session)
    jobs = Gauge("stoker_jobs", "Jobs in the record.", ["status"], registry=registry)
    for status, count in overview.by_status.items():
        jobs.labels(status).set(count)
    age = overview.oldest_pending_job_age_seconds
    Gauge(
        "stoker_oldest_pending_job_age_seconds",
        "Age of the job that is longest due and waits.",
        registry=registry,
    ).set(0 if age is None else age)
    Gauge("stoker_open_batches", "Batches that are not final.", registry=registry).set(
        queue.count_open(session)
    )


def _queues(session: Session, registry: CollectorRegistry) -> None:
    depth = Gauge("stoker_queue_jobs", "Jobs of a queue.", ["queue", "status"], registry=registry)
    figures = {
        name: Gauge(f"stoker_queue_{name}", words, ["queue"], registry=registry)
        for name, words in (
            ("average_wait_seconds", "Mean time until the first start, of the last 24 hours."),
            ("average_run_seconds", "Mean time of completed runs, of the last 24 hours."),
            ("p95_run_seconds", "95 % of completed runs are shorter, of the last 24 hours."),
        )
    }
    age = Gauge(
        "stoker_queue_oldest_pending_job_age_seconds",
        "Age of the job of a queue that is longest due and waits; 0 when none does.",
        ["queue"],
        registry=registry,
    )
    queues = queue_stats.queues(session)
    for each in queues:
        age.labels(each.name).set(_seconds_since(each.oldest_due_at))
        for status, count in each.counts.items():
            depth.labels(each.name, status).set(count)
        for name, gauge in figures.items():
            value = getattr(each, name)
            if value is not None:
                gauge.labels(each.name).set(value)


def _workers(session: Session, registry: CollectorRegistry) -> None:
    labels = ["worker", "kind"]
    alive = Gauge("stoker_worker_alive", "1 while it is heard of.", labels, registry=registry)
    age = Gauge(
        "stoker_worker_heartbeat_age_seconds", "Since its last word.", labels, registry=registry
    )
    running = Gauge("stoker_worker_running_jobs", "Jobs that it runs.", labels, registry=registry)
    own = {
        name: Gauge(f"stoker_worker_{name}", words, labels, registry=registry)
        for name, words in _WORKER_FIGURES.items()
    }
    for worker in queue_stats.list_workers(session):
        name = (worker.name, worker.kind)
        seconds = _seconds_since(worker.last_heartbeat_at)
        is_alive = worker.stopped_at is None and seconds <= current_settings().worker_stale_seconds
        alive.labels(*name).set(int(is_alive))
        age.labels(*name).set(seconds)
        running.labels(*name).set(len(worker.running_job_ids))
        for figure, gauge in own.items():
            value = worker.metrics.get(figure)
            if isinstance(value, int | float):
                gauge.labels(*name).set(value)


class _Ended(Collector):
    """What ended so far, by task and queue (at most ended_jobs.MOST_PAIRS): counters and histograms."""

    def __init__(self, session: Session) -> None:
        self._counts = ended_jobs.list_counts(session)

    def collect(self) -> Iterable[Metric]:
        """Called once, at the scrape."""
        ended = CounterMetricFamily(
            "stoker_jobs_ended", "Jobs that have ended.", labels=["task", "queue", "status"]
        )
        for each in self._counts:
            ended.add_metric([each.task, each.queue, each.status], each.jobs)
        yield ended
        yield _histogram(
            "stoker_job_wait_seconds",
            "From when a job was due to its first start.",
            ended_jobs.waits(self._counts),
        )
        yield _histogram(
            "stoker_job_run_seconds",
            "How long a job ran, all attempts together.",
            ended_jobs.runs(self._counts),
        )


def _histogram(name: str, words: str, found: Sequence[Durations]) -> Metric:
    family = HistogramMetricFamily(name, words, labels=["task", "queue"])
    bounds = [str(float(bound)) for bound in ended_jobs.BOUNDS_SECONDS] + ["+Inf"]
    for each in found:
        below = list(zip(bounds, accumulate(each.counts), strict=True))
        family.add_metric([each.task, each.queue], below, each.sum_seconds)
    return family


def _seconds_since(moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (datetime.now(UTC) - moment).total_seconds())
