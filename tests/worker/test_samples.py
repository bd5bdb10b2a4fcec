"""What a worker writes down of its machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from uuid import UUID, uuid4

import psutil
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from app.core.db import make_engine
from app.core.models import WorkerSample
from app.core.settings import Settings
from app.core.workers import Pulse
from tests.conftest import wait_until
from worker.heart import Heart
from worker.samples import Family, Sampler, engine_processes


def pulse(model: str | None = None, **metrics: float) -> Pulse:
    return Pulse(id=UUID(int=3), kind="worker", name="w", current_model=model, metrics=metrics)


def test_the_heartbeats_of_some_seconds_become_one_sample_of_their_mean() -> None:
    now = [0.0]
    sampler = Sampler(seconds=15, clock=lambda: now[0])
    assert sampler.take(pulse(gpu_utilization=10)) is not None

    taken = []
    for now[0], busy in ((5.0, 20.0), (10.0, 40.0), (15.0, 90.0)):
        taken.append(sampler.take(pulse(gpu_utilization=busy, host_cpu_percent=busy / 10)))

    assert taken[:2] == [None, None]
    assert taken[2] is not None
    assert (taken[2].gpu_utilization, taken[2].cpu_percent) == (50, 5)
    assert taken[2].gpu_memory_percent is None


def test_a_model_that_comes_or_goes_is_written_down_at_once() -> None:
    sampler = Sampler(seconds=15, clock=lambda: 0.0)
    sampler.take(pulse())
    assert sampler.take(pulse()) is None
    assert sampler.take(pulse("gemma")) is not None
    assert sampler.take(pulse("gemma")) is None
    assert sampler.take(pulse()) is not None


@pytest.fixture
def below() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, as an engine is."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    yield process
    process.communicate()


def test_the_engine_is_measured_apart_from_the_worker(below: subprocess.Popen[bytes]) -> None:
    family = Family()

    first, second = family.measure(), family.measure()

    assert first["engine_memory_bytes"] > 0
    assert "engine_cpu_percent" not in first  # it counts from there
    assert second["engine_cpu_percent"] >= 0
    assert second["worker_memory_bytes"] > 0
    own = psutil.Process()
    assert below.pid in [each.pid for each in engine_processes(own)]
    below.communicate()
    assert below.pid not in [each.pid for each in engine_processes(own)]


def test_a_beating_heart_leaves_samples(session: Session, settings: Settings) -> None:
    database = make_engine(settings, "test")
    told = Pulse(id=uuid4(), kind="worker", name="w", metrics={"gpu_utilization": 70.0})
    heart = Heart(sessionmaker(database), lambda: told, 0.05, Sampler(seconds=0.01))
    heart.start()

    def samples() -> list[WorkerSample]:
        session.rollback()
        return list(session.scalars(select(WorkerSample)))

    try:
        wait_until(lambda: len(samples()) >= 2, "two samples")
    finally:
        heart.stop(told.id)
        database.dispose()

    assert {each.gpu_utilization for each in samples()} == {70.0}
    session.execute(text("TRUNCATE worker_sample, worker"))
    session.commit()
