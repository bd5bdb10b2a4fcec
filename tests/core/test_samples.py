"""How busy a machine was, and which model it had."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core import retention, samples
from app.core.models import WorkerSample
from app.core.samples import Figures, Machine
from app.core.settings import Settings

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
WORKER = UUID(int=7)


def put(session: Session, seconds: float, model: str | None = None, **more: Any) -> None:
    """What a worker said so many seconds after noon."""
    values = {"host": "gpu-1", "worker_id": WORKER, **more}
    session.add(WorkerSample(at=NOON + timedelta(seconds=seconds), model=model, **values))
    session.flush()


def read(session: Session, seconds: float, begin: float = 0) -> list[Machine]:
    return samples.read(
        session, NOON + timedelta(seconds=begin), NOON + timedelta(seconds=begin + seconds)
    )


def stretch(machine: Machine) -> list[tuple[tuple[str, ...], float, float]]:
    return [
        (each.models, (each.since - NOON).total_seconds(), (each.until - NOON).total_seconds())
        for each in machine.blocks
    ]


def test_a_long_time_is_told_in_means_of_a_few_hundred_slices(session: Session) -> None:
    session.execute(
        text(
            "INSERT INTO worker_sample (at, worker_id, host, gpu_utilization)"
            " SELECT CAST(:noon AS timestamptz) + number * interval '15 s', :worker, 'gpu-1',"
            "  number % 2 * 100 FROM generate_series(0, 23999) AS number"
        ),
        {"noon": NOON, "worker": WORKER},
    )

    (machine,) = read(session, 24_000 * 15)

    assert len(machine.points) == samples.MOST_POINTS
    assert {point.figures.gpu_utilization for point in machine.points} == {50.0}
    assert machine.has_gpu


def test_models_are_blocks_and_a_silence_is_a_gap(session: Session) -> None:
    for seconds in range(0, 60, 15):
        put(session, seconds, "gemma", cpu_percent=20)
    put(session, 52, "qwen", cpu_percent=60)
    put(session, 67, "qwen", cpu_percent=60)
    put(session, 300, "qwen", cpu_percent=60)
    put(session, 315, None, cpu_percent=10)

    (machine,) = read(session, 400)

    assert stretch(machine) == [
        (("gemma",), 0, 52),
        (("qwen",), 52, 67 + 45),
        (("qwen",), 300, 315),
    ]
    assert machine.blocks[0].figures.cpu_percent == pytest.approx(20)
    assert not machine.has_gpu


def test_a_slice_in_which_one_model_gives_way_to_the_next_is_no_block_of_its_own(
    session: Session,
) -> None:
    for seconds in range(0, 40_000, 100):
        put(session, seconds, "gemma" if seconds < 20_050 else "qwen")
    put(session, 20_060, "qwen")
    put(session, 20_070, "gemma")

    (machine,) = read(session, 40_000)

    assert [models for models, _, _ in stretch(machine)] == [("gemma",), ("qwen",)]


def test_two_workers_of_one_machine_are_one_lane_with_both_models(session: Session) -> None:
    for seconds in range(0, 4000, 10):
        put(session, seconds, "gemma", gpu_utilization=40)
        put(session, seconds + 0.5, "qwen", gpu_utilization=60, worker_id=UUID(int=8))

    (machine,) = read(session, 4000)

    assert {models for models, _, _ in stretch(machine)} == {("gemma", "qwen")}
    assert machine.figures.gpu_utilization == pytest.approx(50)


def test_the_last_word_before_a_window_holds_into_it(session: Session) -> None:
    put(session, -10, "gemma", gpu_utilization=80)

    (machine,) = read(session, 100)

    assert stretch(machine) == [(("gemma",), 0, 35)]


def test_of_many_machines_those_that_told_last_are_shown(session: Session) -> None:
    for place in range(samples.MOST_MACHINES + 2):
        put(session, place * 20, host=f"host-{9 - place}")

    assert [each.host for each in read(session, 1000)] == [
        f"host-{number}" for number in (4, 5, 6, 7)
    ]


def test_what_is_written_is_read_and_removed_when_its_time_is_over(
    session: Session, settings: Settings
) -> None:
    told = Figures(gpu_utilization=12.5, engine_memory_bytes=4e9)
    samples.keep(session, uuid4(), "gpu-1", "gemma", told)
    put(session, 0, host="old")
    session.commit()
    now = session.scalar(select(func.clock_timestamp()))
    assert now is not None

    (machine,) = samples.read(session, now - timedelta(minutes=1), now)
    assert machine.points[0].figures == told

    retention.run(settings, ["worker_sample"])

    assert session.scalars(select(WorkerSample.host)).all() == ["gpu-1"]
    session.execute(text("TRUNCATE worker_sample"))
    session.commit()
