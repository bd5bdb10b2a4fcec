"""/v1/files, call by call."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.core.models import AuditEntry, File
from tests.api.conftest import Upload, error_of

FIELDS = [
    "id",
    "object",
    "bytes",
    "created_at",
    "expires_at",
    "filename",
    "purpose",
    "status",
    "status_details",
]
NASTY = b'\xef\xbb\xbf{"a":"\xc3\xa9"}\r\n\r\n--\x00\xff\n--boundary\r\n' + bytes(range(256))


def test_a_file_object_has_the_sdks_fields(upload: Upload) -> None:
    before = int(time.time())
    file = upload(b"{}\n")
    assert list(file) == FIELDS
    assert file["object"] == "file"
    assert file["bytes"] == 3
    assert file["filename"] == "requests.jsonl"
    assert file["purpose"] == "batch"
    assert file["status"] == "processed"
    assert type(file["created_at"]) is int
    assert before <= file["created_at"] <= time.time()
    assert file["id"].startswith("file-")


@pytest.mark.parametrize("content", [b"", b"\n", NASTY, b"--", b"\r\n", b"x" * 300_000])
def test_the_content_comes_back_byte_for_byte(
    client: FlaskClient, upload: Upload, content: bytes
) -> None:
    file = upload(content)
    answer = client.get(f"/v1/files/{file['id']}/content", buffered=True)
    assert answer.data == content
    assert file["bytes"] == len(content)


def test_a_browser_saves_a_file_and_never_shows_it(client: FlaskClient, upload: Upload) -> None:
    file = upload(b"<script>alert(1)</script>", 'x".html\r\nSet-Cookie: a=b', purpose="user_data")
    answer = client.get(
        f"/v1/files/{file['id']}/content", headers={"Accept": "application/binary"}, buffered=True
    )
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")
    assert "Set-Cookie" not in answer.headers


def test_a_download_can_be_resumed(client: FlaskClient, upload: Upload) -> None:
    file = upload(b"0123456789")
    answer = client.get(
        f"/v1/files/{file['id']}/content", headers={"Range": "bytes=4-"}, buffered=True
    )
    assert (answer.status_code, answer.data) == (206, b"456789")


def test_a_batch_file_expires_after_thirty_days_unless_told(upload: Upload) -> None:
    file = upload()
    assert file["expires_at"] - file["created_at"] == 2592000
    own = upload(**{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"})
    assert own["expires_at"] - own["created_at"] == 3600
    assert upload(purpose="user_data")["expires_at"] is None


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"purpose": "nonsense"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"purpose": "batch_output"}, "purpose"),
        ({"expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "3600"}, "expires_after[anchor]"),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "expires_after[anchor]",
        ),
        *(
            (
                {"expires_after[anchor]": "created_at", "expires_after[seconds]": seconds},
                "expires_after[seconds]",
            )
            for seconds in ("3599", "2592001", "-1", "1e4", "soon", "9" * 5000)
        ),
        ({"file": "a text where a file is wanted"}, "file"),
        ({"file": (io.BytesIO(b"{}"), "")}, "file"),
        ({"file": (io.BytesIO(b"{}"), "requests.json")}, "file"),
        ({"file": (io.BytesIO(b"{}"), "/etc/")}, "file"),
    ],
)
def test_a_form_that_is_not_right_is_refused_by_name(
    client: FlaskClient, session: Session, form: dict[str, Any], param: str
) -> None:
    form = {"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "x.jsonl"), **form}
    error = error_of(client.post("/v1/files", data=form), 400)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert session.scalar(select(func.count()).select_from(File)) == 0


def test_a_batch_file_of_another_kind_is_refused_in_openais_words(client: FlaskClient) -> None:
    form = {"purpose": "batch", "file": (io.BytesIO(b"{}"), "requests.txt")}
    error = error_of(client.post("/v1/files", data=form), 400)
    assert error["message"] == "Invalid file format for Batch API. Must be .jsonl"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"{}", "application/json"),
        (b"", "multipart/form-data"),
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (
            b"--x\r\nContent-Disposition: nonsense\r\n\r\nabc\r\n--x--",
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_a_body_that_is_no_form_is_refused(
    client: FlaskClient, body: bytes, content_type: str
) -> None:
    error_of(client.post("/v1/files", data=body, content_type=content_type), 400)


def test_two_files_at_once_are_refused(client: FlaskClient, session: Session) -> None:
    form = {
        "purpose": "batch",
        "file": [(io.BytesIO(b"{}"), "a.jsonl"), (io.BytesIO(b"{}"), "b.jsonl")],
    }
    error_of(client.post("/v1/files", data=form), 400)
    assert session.scalar(select(func.count()).select_from(File)) == 0


def test_a_list_is_walked_by_its_cursor_even_when_times_are_equal(
    client: FlaskClient, upload: Upload, session: Session
) -> None:
    made = {upload()["id"] for _ in range(7)}
    session.execute(update(File).values(created_at=func.now()))
    session.commit()
    for order in ("asc", "desc"):
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 3, "order": order}
        while True:
            page = client.get("/v1/files", query_string=query).json
            assert list(page) == ["object", "data", "first_id", "last_id", "has_more"]
            seen += [file["id"] for file in page["data"]]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
        assert len(seen) == 7
        assert set(seen) == made


def test_a_list_can_be_filtered_by_purpose(client: FlaskClient, upload: Upload) -> None:
    upload()
    other = upload(purpose="user_data")
    page = client.get("/v1/files?purpose=user_data").json
    assert [file["id"] for file in page["data"]] == [other["id"]]


def test_the_cursor_of_a_deleted_file_is_unknown_and_says_so(
    client: FlaskClient, upload: Upload
) -> None:
    file = upload()
    client.delete(f"/v1/files/{file['id']}")
    error = error_of(client.get(f"/v1/files?after={file['id']}"), 404)
    assert error["param"] == "after"


def test_a_deleted_file_is_gone_with_its_bytes_and_the_audit_trail_says_who(
    client: FlaskClient, upload: Upload, session: Session, settings: Any
) -> None:
    file = upload()
    answer = client.delete(f"/v1/files/{file['id']}")
    assert answer.json == {"id": file["id"], "object": "file", "deleted": True}
    for path in ("", "/content"):
        error_of(client.get(f"/v1/files/{file['id']}{path}"), 404)
    error_of(client.delete(f"/v1/files/{file['id']}"), 404)
    assert list(settings.files_path.iterdir()) == []
    entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "file.delete")).one()
    assert entry.object_id == file["id"]
    assert entry.actor.startswith("admin (key ")


def test_a_file_that_a_batch_still_needs_can_not_be_deleted(
    client: FlaskClient, create: Any, session: Session
) -> None:
    batch = create()
    answer = client.delete(f"/v1/files/{batch['input_file_id']}")
    error = error_of(answer, 409)
    assert batch["id"] in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    session.execute(text("UPDATE batch SET status = 'cancelled', cancelled_at = now()"))
    session.commit()
    assert client.delete(f"/v1/files/{batch['input_file_id']}").status_code == 200


def test_an_expired_file_is_absent(client: FlaskClient, upload: Upload, session: Session) -> None:
    file = upload()
    session.execute(update(File).values(expires_at=func.now()))
    session.commit()
    error_of(client.get(f"/v1/files/{file['id']}"), 404)
    error_of(client.get(f"/v1/files/{file['id']}/content"), 404)
    assert client.get("/v1/files").json["data"] == []


def test_somebody_elses_files_are_absent(make_client: Any, other_key: str, upload: Upload) -> None:
    file = upload()
    kim = make_client(other_key)
    assert kim.get("/v1/files").json["data"] == []
    error_of(kim.get(f"/v1/files/{file['id']}"), 404)
    error_of(kim.get(f"/v1/files/{file['id']}/content"), 404)
    error_of(kim.delete(f"/v1/files/{file['id']}"), 404)
    error_of(kim.get(f"/v1/files?after={file['id']}"), 404)


def test_bytes_that_somebody_removed_by_hand_are_missed_politely(
    client: FlaskClient, upload: Upload, settings: Any
) -> None:
    file = upload()
    (settings.files_path / file["id"]).unlink()
    error_of(client.get(f"/v1/files/{file['id']}/content"), 404)
