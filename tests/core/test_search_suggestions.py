"""What a search that is being typed may go on with."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from app.core import job_types, jobs, search_suggestions
from app.core.search_syntax import parse
from app.core.settings import Settings


def texts(session: Session, text: str, owner_name: str | None = None) -> list[str]:
    return [each.text for each in search_suggestions.suggest(session, text, owner_name)]


@pytest.fixture(autouse=True)
def _some_jobs(session: Session) -> None:
    for owner, task, queue in (
        ("ada", "export", "tasks"),
        ("kim", "export", "a b"),
        ("kim", 'odd "name"', "tasks"),
    ):
        jobs.defer(session, task, {"customer": 7}, queue=queue, owner_name=owner)
    session.commit()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ty", ["type:"]),
        ("status:failed mo", ["status:failed model:"]),
        ("-status:pe", ["-status:pending "]),
        ("type:ex", ["type:export "]),
        ("queue:a", ['queue:"a b" ']),
        ("user:", ["user:ada ", "user:kim "]),
        ("args.cu", ["args.customer:"]),
        ('error:"out of', []),
        ("type:nothing", []),
        ("nothing", []),
        ("expo", ["type:export "]),
        ("ex", []),
    ],
)
def test_fields_and_values_are_known(session: Session, text: str, expected: list[str]) -> None:
    assert texts(session, text) == expected


def test_a_user_is_told_of_nobody_elses(session: Session) -> None:
    assert texts(session, "user:", "ada") == ["user:ada "]
    assert texts(session, "queue:", "ada") == ["queue:tasks "]


def test_what_is_suggested_can_be_read(session: Session) -> None:
    for text in texts(session, "type:"):
        (term,) = parse(text)
        assert term.value in ("export", 'odd "name"')


@pytest.mark.parametrize("begun", ["mail", "send_", "tasks.send", "news", "Newsletter"])
def test_a_type_is_suggested_by_any_part_of_its_name_or_label(
    session: Session, settings: Settings, begun: str
) -> None:
    jobs.defer(session, "shop.tasks.send_mail", {}, queue="shop", owner_name="ada")
    jobs.defer(session, "shop.tasks.post_newsletter", {}, queue="shop", owner_name="ada")
    labels = {"shop.tasks.send_mail": "Newsletter mail"}
    job_types.use(settings.model_copy(update={"type_labels": labels}))
    try:
        found = texts(session, f"type:{begun}")
        assert found[0] == "type:shop.tasks.send_mail "
        assert texts(session, f"-{begun}")[0] == "-type:shop.tasks.send_mail "
    finally:
        job_types.use(settings)
