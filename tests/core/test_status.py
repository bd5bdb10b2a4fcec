"""The words for a job's status: ours, and those of five dialects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.core.models import JOB_FINAL, JOB_STATUSES, Job
from app.core.status import (
    ACTIONS,
    ACTIVE,
    API,
    DIALECTS,
    FINAL,
    OURS,
    PLATFORM,
    PLATFORM_LIST,
    STATUSES,
    V1,
    is_one_of,
    shown,
)

NOW = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ours", "v1", "api", "platform", "in_platform_list"),
    [
        ("scheduled", "queued", "pending", "PENDING", "SCHEDULED"),
        ("pending", "queued", "pending", "PENDING", "PENDING"),
        ("retrying", "queued", "pending", "RETRY", "RETRY"),
        ("running", "in_progress", "running", "STARTED", "STARTED"),
        ("completed", "completed", "completed", "SUCCESS", "SUCCESS"),
        ("failed", "failed", "failed", "FAILURE", "FAILURE"),
        ("cancelled", "cancelled", "cancelled", "REVOKED", "REVOKED"),
    ],
)
def test_each_dialect_has_its_word_for_each_status(
    ours: str, v1: str, api: str, platform: str, in_platform_list: str
) -> None:
    said = [dialect.say(ours) for dialect in (OURS, V1, API, PLATFORM, PLATFORM_LIST)]
    assert said == [ours, v1, api, platform, in_platform_list]


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_what_a_dialect_says_it_also_reads(dialect: object) -> None:
    for status in STATUSES:
        assert status in dialect.read(dialect.say(status))  # type: ignore[attr-defined]
    meant = [dialect.read(word) for word in dialect.vocabulary]  # type: ignore[attr-defined]
    assert sorted(status for some in meant for status in some) == sorted(STATUSES)


def test_procrastinates_words_are_understood_in_filters() -> None:
    assert API.read_list("todo") == {"scheduled", "pending", "retrying"}
    assert API.read_list("doing,succeeded,aborted") == {"running", "completed", "cancelled"}


def test_several_words_are_separated_by_commas_and_processing_means_running() -> None:
    assert API.read_list("processing, failed") == {"running", "failed"}
    assert API.read_list("pending") == {"scheduled", "pending", "retrying"}
    assert API.read_list("retrying") == {"retrying"}
    assert API.read_list("") is None
    assert API.read_list(None) is None


@pytest.mark.parametrize("words", ["done", "failed,", "FAILED", "STARTED"])
def test_a_word_of_no_dialect_is_refused_by_the_parameters_name(words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        API.read_list(words)
    assert refusal.value.param == "status"


def test_a_pending_job_that_is_due_later_is_shown_as_scheduled() -> None:
    later = NOW + timedelta(seconds=1)
    assert shown("pending", later, NOW) == "scheduled"
    assert shown("pending", NOW, NOW) == "pending"
    assert shown("pending", None, NOW) == "pending"
    assert shown("retrying", later, NOW) == "retrying"


def test_every_status_is_active_or_final_and_says_what_may_be_done() -> None:
    assert set(STATUSES) == {*JOB_STATUSES, "scheduled"}
    assert FINAL == JOB_FINAL
    assert (*ACTIVE, *FINAL) == STATUSES
    assert set(ACTIONS) == set(STATUSES)
    assert [status for status in STATUSES if "retry" in ACTIONS[status]] == ["failed", "cancelled"]
    assert [status for status in STATUSES if "abort" in ACTIONS[status]] == ["running"]
    assert all(("cancel" in ACTIONS[status]) == (status in ACTIVE) for status in STATUSES)


def test_the_condition_in_sql_agrees_with_what_is_shown(session: Session) -> None:
    now = datetime.now(UTC)
    dues = (None, now - timedelta(hours=1), now + timedelta(hours=1))
    jobs = [
        Job(id=number, task="t", queue="q", status=status, scheduled_at=due)
        for number, (status, due) in enumerate((s, d) for s in JOB_STATUSES for d in dues)
    ]
    session.add_all(jobs)
    session.flush()
    choices = [{status} for status in STATUSES]
    choices += [{"scheduled", "pending"}, {"pending", "failed"}, set(STATUSES), set()]
    for wanted in choices:
        found = set(session.scalars(select(Job.id).where(is_one_of(wanted))))
        assert found == {
            job.id for job in jobs if shown(job.status, job.scheduled_at, now) in wanted
        }
