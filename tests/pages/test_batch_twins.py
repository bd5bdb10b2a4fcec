"""A batch's requests, and batches side by side, for programs: the same as on their pages."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core.models import User
from app.core.settings import Settings
from tests.pages import seed
from tests.pages.asking import ask, refused
from tests.pages.request_seed import Exchange, add_requests
from tests.pages.test_history_compare import two_batches
from tests.pages.test_history_requests import running_batch

SignIn = Callable[..., FlaskClient]
COMPARE = "/v1/jobs/compare"


def ids(found: dict[str, Any]) -> list[str]:
    return [each["custom_id"] for each in found["requests"]]


def test_requests_are_listed_filtered_and_paged_as_on_the_page(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    running_batch(session, settings)
    client, path = sign_in(), "/v1/batches/batch_a/requests"

    found = ask(client, path)

    assert ids(found) == ["sky-2", "sea-2", "sky-1", "sea-1", "sea-3"]
    page = client.get("/history/batch_a/requests").text
    places = [page.index(f">{custom_id}</a>") for custom_id in ids(found)]
    assert places == sorted(places)
    failed, answered, waiting = found["requests"][0], found["requests"][3], found["requests"][4]
    assert (failed["status"], failed["request_index"], failed["answer"]) == ("failed", 1, None)
    assert failed["error_type"] == "context_length_exceeded"
    assert failed["error_message"] == "Too long."
    assert answered["answer"] == "It mirrors the sky."
    assert (answered["input_tokens"], answered["output_tokens"]) == (31, 12)
    assert (answered["duration_seconds"], answered["is_cut"]) == (2.5, False)
    assert waiting["status"] == "waiting"
    assert found["counts"] == {"total": 5, "failed": 2, "completed": 2, "waiting": 1}
    assert ids(ask(client, path, status="failed", q="sea")) == ["sea-2"]
    assert ids(ask(client, path, q="none")) == []
    first = ask(client, path, limit=2)
    second = ask(client, path, limit=4, cursor=first["next_cursor"])
    assert ids(first) + ids(second) == ids(found)
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


def test_one_request_has_what_was_asked_and_answered(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    running_batch(session, settings)
    client, path = sign_in(), "/v1/batches/batch_a/requests"

    found = ask(client, f"{path}/2")

    assert (found["custom_id"], found["batch_id"]) == ("sea-1", "batch_a")
    assert found["question"][-1] == {"role": "user", "text": "Why is the sky blue?"}
    assert found["parameters"] == {"max_tokens": 64, "temperature": 0.2}
    assert found["answer"] in found["answered"]
    assert "Why is the sky blue?" in found["asked"]
    assert found["asked_bytes"] == len(found["asked"].encode())
    page = html.unescape(client.get("/history/batch_a/requests/3").text)
    assert found["answer"] in page
    assert ask(client, f"{path}/4")["answered"] is None
    assert refused(client, f"{path}/5") == (404, "request_index")
    assert refused(client, f"{path}/{10**30}") == (404, "request_index")


def test_what_an_ended_batch_left_is_unanswered_and_long_answers_are_cut(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    batch = seed.add_batch(session, "expired", id="batch_b")
    add_requests(session, settings, batch, [Exchange("long", answer="x" * 5000), Exchange("left")])
    client, path = sign_in(), "/v1/batches/batch_b/requests"
    long, left = ask(client, path)["requests"]
    assert (left["status"], len(long["answer"]), long["is_cut"]) == ("unanswered", 2000, True)
    whole = ask(client, f"{path}/0")
    assert (len(whole["answer"]), whole["is_cut"]) == (5000, False)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"status": "lost"}, "status"),
        ({"q": "x" * 600}, "q"),
        ({"q": "\x00"}, "q"),
        ({"cursor": "x"}, "cursor"),
        ({"limit": "none"}, "limit"),
    ],
)
def test_what_cannot_be_read_of_requests_is_named(
    session: Session, settings: Settings, sign_in: SignIn, query: dict[str, str], param: str
) -> None:
    running_batch(session, settings)
    assert refused(sign_in(), "/v1/batches/batch_a/requests", **query) == (400, param)


def test_batches_are_compared_as_on_the_page(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    two_batches(session, settings)
    client = sign_in()

    found = ask(client, COMPARE, ids="batch_one, batch_other")

    one, other = found["batches"]
    assert (one["id"], one["model"], one["run_seconds"]) == ("batch_one", "small", 10.0)
    assert (other["engine"]["version"], other["total"]) == ("0.33.0", 5)
    assert one["parameters"]["temperature"] == {"value": 0.2, "varies": False}
    assert other["parameters"]["temperature"] == {"value": None, "varies": True}
    assert one["lines_read"] == 5
    assert sum(one["errors"].values()) == 2
    different = found["different"]
    assert {"model", "engine.version", "parameters.temperature", "failed"} <= set(different)
    assert not {"endpoint", "total", "parameters.max_tokens"} & set(different)
    page = client.get("/history/compare?ids=batch_one,batch_other").text
    for value in ("small", "large", "0.33.0", *one["errors"]):
        assert value in page


def test_the_differences_are_those_of_the_page(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    two_batches(session, settings)
    client, asked = sign_in(), {"ids": "batch_one,batch_other"}

    found = ask(client, f"{COMPARE}/differences", **asked)

    by_id = {each["custom_id"]: each for each in found["differences"]}
    assert list(by_id) == ["fails", "otherwise", "here only", "there only"]
    page = client.get("/history/compare?ids=batch_one,batch_other").text
    shown = page.partition('id="differences"')[2]
    places = [shown.index(f'<span class="id">{each}</span>') for each in by_id]
    assert places == sorted(places)
    assert f"{found['compared']} compared" in " ".join(shown.split())
    fails = by_id["fails"]["sides"]
    assert by_id["fails"]["status_differs"]
    assert [side["status"] for side in fails] == ["failed", "completed"]
    assert [side["request_index"] for side in fails] == [2, 1]
    assert by_id["otherwise"]["differs_at"] == len("Air scatters ")
    assert by_id["otherwise"]["sides"][1]["text"] == "Air scatters violet light most."
    assert by_id["there only"]["sides"][0] == {
        "batch_id": "batch_one",
        "status": "absent",
        "request_index": None,
        "text": None,
        "text_from": 0,
        "is_cut": False,
    }
    first = ask(client, f"{COMPARE}/differences", **asked, limit=3)
    second = ask(client, f"{COMPARE}/differences", **asked, cursor=first["next_cursor"])
    assert first["differences"] + second["differences"] == found["differences"]
    assert not second["has_more"]


def test_a_long_answer_is_shown_from_where_it_parts(
    session: Session, settings: Settings, sign_in: SignIn
) -> None:
    for name, end in (("a", "x"), ("b", "y")):
        batch = seed.add_batch(session, id=f"batch_{name}")
        answer = "w" * 1000 + end * 5000
        add_requests(session, settings, batch, [Exchange("q", answer=answer)])
    (found,) = ask(sign_in(), f"{COMPARE}/differences", ids="batch_a,batch_b")["differences"]
    side = found["sides"][1]
    assert (found["differs_at"], side["text_from"], side["is_cut"]) == (1000, 940, True)
    assert side["text"] == "w" * 60 + "y" * 1940


@pytest.mark.parametrize("path", [COMPARE, f"{COMPARE}/differences"])
def test_what_cannot_be_compared_is_named(
    session: Session, settings: Settings, sign_in: SignIn, path: str
) -> None:
    two_batches(session, settings)
    client = sign_in()
    assert refused(client, path) == (400, "ids")
    assert refused(client, path, ids="batch_one,batch_one") == (400, "ids")
    assert refused(client, path, ids="a,b,c,d,e") == (400, "ids")
    assert refused(client, path, ids="batch_one,batch_none") == (404, "ids")
    assert refused(client, path, ids="x" * 2000) == (400, "ids")
    both = {"ids": "batch_one,batch_other"}
    if path != COMPARE:
        assert refused(client, path, **both, cursor="x") == (400, "cursor")


def test_another_users_batch_is_none(session: Session, settings: Settings, sign_in: SignIn) -> None:
    one, other = two_batches(session, settings)
    ann = sign_in("ann", "user")
    owner = session.query(User).filter_by(name="ann").one()
    one.owner_id = owner.id
    session.commit()
    both = f"{one.id},{other.id}"
    assert refused(ann, COMPARE, ids=both) == (404, "ids")
    assert refused(ann, f"{COMPARE}/differences", ids=both) == (404, "ids")
    assert ask(ann, f"/v1/batches/{one.id}/requests")["counts"]["total"] == 5
    assert refused(ann, f"/v1/batches/{other.id}/requests") == (404, "batch_id")
    assert refused(ann, f"/v1/batches/{other.id}/requests/0") == (404, "batch_id")
