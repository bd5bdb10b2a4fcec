"""Saved views and the tasks that one may start, for programs: the same as on their pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.core import saved_views, tasks, users
from app.core.models import SavedView

SignIn = Callable[..., FlaskClient]
VIEWS = "/api/views"


@pytest.fixture(autouse=True)
def no_views(session: Session) -> Iterator[None]:
    """None of another test is there, and none is left."""
    session.execute(delete(SavedView))
    session.commit()
    yield
    session.rollback()
    session.execute(delete(SavedView))
    session.commit()


def ask(client: FlaskClient, path: str) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return dict(answer.json or {})


def refused(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json["error"]["param"]


def test_a_view_is_saved_renamed_listed_and_forgotten(client: FlaskClient, sign_in: SignIn) -> None:
    saved = client.post(VIEWS, json={"name": " Nightly ", "address": "/jobs?status=failed"})
    assert saved.status_code == 201, saved.text
    view = dict(saved.json or {})
    assert (view["name"], view["address"]) == ("Nightly", "/jobs?status=failed")
    assert ask(client, VIEWS) == {"views": [view], "count": 1}
    path = f"{VIEWS}/{view['id']}"
    renamed = client.patch(path, json={"name": "Failed"})
    assert (renamed.status_code, (renamed.json or {})["name"]) == (200, "Failed")
    page = sign_in().get("/views").text
    assert 'href="/jobs?status=failed"' in page
    assert "Failed" in page
    assert client.delete(path).status_code == 204
    assert refused(client.delete(path)) == (404, "view_id")
    assert refused(client.patch(path, json={"name": "x"})) == (404, "view_id")
    assert refused(client.delete(f"{VIEWS}/{10**30}")) == (404, "view_id")
    assert ask(client, VIEWS)["count"] == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "", "address": "/jobs"}, "name"),
        ({"name": "x" * 81, "address": "/jobs"}, "name"),
        ({"name": "x"}, "address"),
        ({"name": "x", "address": "https://elsewhere.example/jobs"}, "address"),
        ({"name": "x", "address": "//elsewhere.example"}, "address"),
        ({"name": "x", "address": "/api/jobs"}, "address"),
        ({"name": "x", "address": "/jobs?" + "x" * 5000}, "address"),
        ({"name": "x", "address": "/jobs", "colour": "red"}, "colour"),
    ],
)
def test_what_no_view_can_be_is_named(
    client: FlaskClient, body: dict[str, str], param: str
) -> None:
    assert refused(client.post(VIEWS, json=body)) == (400, param)


def test_a_name_is_taken_once_and_there_is_an_end(client: FlaskClient, session: Session) -> None:
    body = {"name": "one", "address": "/jobs"}
    assert client.post(VIEWS, json=body).status_code == 201
    assert refused(client.post(VIEWS, json=body)) == (409, "name")
    other = (client.post(VIEWS, json={**body, "name": "other"}).json or {})["id"]
    assert refused(client.patch(f"{VIEWS}/{other}", json={"name": "one"})) == (409, "name")
    user = users.ensure_admin(session)
    for number in range(saved_views.MOST - 2):
        saved_views.create(session, user.id, f"view {number}", "/jobs")
    session.commit()
    answer = client.post(VIEWS, json={**body, "name": "too many"})
    assert answer.status_code == 429
    assert ask(client, VIEWS)["count"] == saved_views.MOST


def test_views_are_ones_own(client: FlaskClient, session: Session, sign_in: SignIn) -> None:
    saved = client.post(VIEWS, json={"name": "mine", "address": "/jobs"})
    assert ask(sign_in("ann", "user"), VIEWS) == {"views": [], "count": 0}
    ann = users.get(session, "ann")
    theirs = saved_views.create(session, ann.id, "hers", "/queue").id
    session.commit()
    assert refused(client.delete(f"{VIEWS}/{theirs}")) == (404, "view_id")
    assert [each["id"] for each in ask(client, VIEWS)["views"]] == [(saved.json or {})["id"]]


def test_the_tasks_are_those_of_the_page_with_what_they_take(sign_in: SignIn) -> None:
    client = sign_in()
    found = ask(client, "/api/tasks")
    names = [each["name"] for each in found["tasks"]]
    assert {"export", "cleanup", "backup"} <= set(names)
    assert "bulk" not in names
    page = client.get("/tasks").text
    for each in found["tasks"]:
        assert f'action="/tasks/{each["name"]}"' in page
        spec = tasks.get(each["name"])
        assert set(each["arguments"]["properties"]) == set(spec.arguments.model_fields)
        assert (each["description"], each["queue"]) == (spec.description, spec.queue)
        for argument in each["arguments"]["properties"]:
            assert f'name="{argument}"' in page
    assert page.count('action="/tasks/') == found["count"]
    export = next(each for each in found["tasks"] if each["name"] == "export")
    assert export["arguments"]["properties"]["format"]["enum"] == ["csv", "json", "zip"]
    assert {"schedule_at", "priority", "depends_on"} <= set(found["terms"]["properties"])


def test_a_user_is_told_of_no_task_that_only_others_start(sign_in: SignIn) -> None:
    found = ask(sign_in("ann", "user"), "/api/tasks")["tasks"]
    assert {each["scope"] for each in found} == {"submit"}
    assert "cleanup" not in [each["name"] for each in found]
