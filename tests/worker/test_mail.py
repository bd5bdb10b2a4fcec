"""E-mails on their way: a real mail server, STARTTLS, TLS, login, and every refusal in words."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from app.core.deliveries import Outcome
from app.core.settings import Settings, load_settings
from tests.conftest import free_port
from tests.worker.smtp_sink import sink
from tests.worker.test_webhooks import make_certificate
from worker import mail

PAYLOAD = json.dumps(
    {
        "id": "evt_1",
        "created_at": 1_764_000_000,
        "type": "alert.opened",
        "data": {"summary": "night: 3 jobs\nBcc: all@example.org", "text": "Größe: 3\n.\nend"},
    }
)


def send(port: int, **settings: Any) -> Outcome:
    settings = {"smtp_host": "127.0.0.1", "smtp_security": "none", **settings}
    chosen = load_settings(smtp_port=port, smtp_from="Stoker <stoker@example.org>", **settings)
    return mail.send(chosen, "mailto:ops@example.org", PAYLOAD)


def test_a_mail_is_plain_text_with_one_subject_and_a_stable_id() -> None:
    with sink() as server:
        assert send(server.port) == Outcome(250)
        assert send(server.port) == Outcome(250)
    first, second = server.mails
    assert first["Subject"] == "[Stoker] night: 3 jobs Bcc: all@example.org"
    assert (first["To"], first["From"]) == ("ops@example.org", "Stoker <stoker@example.org>")
    assert first["Bcc"] is None
    assert first.get_content_type() == "text/plain"
    assert first.get_content().splitlines() == ["Größe: 3", ".", "end"]
    assert first["Message-ID"] == second["Message-ID"] == "<evt_1@example.org>"
    assert [each for each in server.commands if each.startswith("rcpt")] == [
        "rcpt TO:<ops@example.org>"
    ] * 2
    assert server.logins == []


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Trusted for the name localhost alone."""
    path = make_certificate(tmp_path / "localhost.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return context


LOGIN = {"smtp_user": "stoker", "smtp_password": "hidden"}


def test_starttls_comes_before_the_login(certificate: ssl.SSLContext) -> None:
    with sink(certificate) as server:
        outcome = send(server.port, smtp_host="localhost", smtp_security="starttls", **LOGIN)
    assert outcome == Outcome(250)
    assert server.secured == 1
    assert server.logins == [("stoker", "hidden")]
    assert len(server.mails) == 1


def test_tls_from_the_first_byte(certificate: ssl.SSLContext) -> None:
    with sink(certificate, is_tls=True) as server:
        outcome = send(server.port, smtp_host="localhost", smtp_security="tls", **LOGIN)
    assert outcome == Outcome(250)
    assert server.logins == [("stoker", "hidden")]


def test_a_certificate_of_another_name_gets_no_password(certificate: ssl.SSLContext) -> None:
    with sink(certificate) as server:
        outcome = send(server.port, smtp_security="starttls", **LOGIN)
    assert "certificate is not valid" in (outcome.error or "")
    assert server.logins == []


def test_a_server_without_starttls_gets_no_password() -> None:
    with sink() as server:
        outcome = send(server.port, smtp_security="starttls", **LOGIN)
    assert outcome == Outcome(error="the mail server does not know STARTTLS, or no login")
    assert server.logins == server.mails == []


@pytest.mark.parametrize(
    ("verb", "reply", "outcome"),
    [
        ("RCPT", "550 no such user hidden",
         Outcome(550, "the mail server refused the address (550)", is_hopeless=True)),
        ("RCPT", "450 later", Outcome(450, "the mail server refused the address (450)")),
        ("DATA", "452 full", Outcome(452, "the mail server refused the e-mail (452)")),
        ("AUTH", "535 hidden is wrong", Outcome(535, "the mail server refused the login")),
        ("MAIL", "", Outcome(error="the connection was closed without an answer")),
    ],
)  # fmt: skip
def test_every_refusal_has_its_words_without_a_secret(
    verb: str, reply: str, outcome: Outcome
) -> None:
    with sink() as server:
        server.replies[verb] = reply
        assert send(server.port, **LOGIN) == outcome
    assert server.mails == []


def test_a_server_that_is_not_there_is_said() -> None:
    assert send(free_port()) == Outcome(error="can't connect: Connection refused")


def test_a_server_that_says_nothing_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = send(silent.getsockname()[1], smtp_timeout_seconds=0.2)
    assert outcome == Outcome(error="no answer within 0.2 s")


def test_without_a_mail_server_the_setting_is_named() -> None:
    outcome = send(25, smtp_host="")
    assert "STOKER_SMTP_HOST" in (outcome.error or "")
    assert outcome.is_hopeless


def test_the_password_is_in_no_text_of_the_settings() -> None:
    settings = Settings(smtp_password="hidden-word")  # type: ignore[arg-type]
    assert "hidden-word" not in f"{settings!r} {settings} {settings.model_dump()}"
