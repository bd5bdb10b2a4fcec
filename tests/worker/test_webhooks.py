"""Webhooks on their way: a real receiver, the real courier, the real housekeeper."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from app.core import (
    alert_rules,
    alerts,
    delivery_log,
    delivery_tests,
    logs,
    users,
    webhook_endpoints,
    webhooks,
    workers,
)
from app.core.deliveries import Outcome
from app.core.models import Batch, WebhookDelivery, WebhookEndpoint
from app.core.settings import Settings
from app.core.workers import Pulse
from tests.conftest import wait_until
from tests.pages import seed
from tests.worker.receiver import Heard, Receiver, receive
from tests.worker.smtp_sink import sink
from tests.worker.stack import Stack, chat
from worker import posting
from worker.webhooks import Courier

SECRET = "whsec_c29tZSBieXRlcyB0aGF0IHNpZ24="
QUICK_RETRIES = {"webhook_retry_seconds": 0.01, "webhook_hosts": ("127.0.0.1", "localhost")}
ENVIRONMENT = {
    "STOKER_WEBHOOK_HOSTS": json.dumps(["127.0.0.1", "localhost"]),
    "STOKER_WEBHOOK_RETRY_SECONDS": "0.01",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as receiver:
        yield receiver


@pytest.fixture
def start_courier(settings: Settings, engine: Engine) -> Iterator[Callable[[], Courier]]:
    """Starts a courier in this process, with hardly a pause between its tries."""
    couriers = []

    def start() -> Courier:
        quick = settings.model_copy(update=QUICK_RETRIES)
        courier = Courier(quick, sessionmaker(engine, expire_on_commit=False))
        courier.start()
        couriers.append(courier)
        return courier

    yield start
    for courier in couriers:
        courier.stop()


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path, environment=dict(ENVIRONMENT))
    stack.write_models(fake={})
    yield stack
    stack.stop()


def tell(session: Session, url: str, status: str = "completed", **webhook: object) -> str:
    """An event that waits for delivery; its id."""
    batch = seed.add_batch(session, job_id=1, webhook={"url": url, **webhook})
    webhooks.enqueue(session, batch, status)
    session.commit()
    return session.scalars(
        select(WebhookDelivery.id).where(WebhookDelivery.batch_id == batch.id)
    ).one()


def delivery(session: Session, delivery_id: str) -> WebhookDelivery:
    session.rollback()
    session.expire_all()
    return session.get_one(WebhookDelivery, delivery_id)


def wait_for(session: Session, delivery_id: str, status: str) -> WebhookDelivery:
    wait_until(
        lambda: delivery(session, delivery_id).status == status, f"{delivery_id} is {status}"
    )
    return delivery(session, delivery_id)


def add_endpoint(session: Session, url: str) -> WebhookEndpoint:
    endpoint = webhook_endpoints.create(
        session,
        users.ensure_admin(session),
        "test",
        name="hook",
        url=url,
        event_types=["batch.completed"],
    )
    session.commit()
    return endpoint


# The courier


def test_an_event_arrives_signed_and_is_told_once(
    session: Session, receiver: Receiver, start_courier: Callable[[], Courier]
) -> None:
    delivery_id = tell(session, receiver.url, secret=SECRET)
    courier = start_courier()
    told = wait_for(session, delivery_id, "delivered")
    assert (told.tries, told.last_status_code, told.last_error) == (1, 200, None)
    courier.stop()
    (heard,) = receiver.heard
    event = heard.unwrap(SECRET)
    assert (event.type, event.id, event.data.id) == ("batch.completed", told.id, told.batch_id)
    assert heard.body.decode() == told.payload
    assert heard.path == "/hook?token=hidden"
    assert heard.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert heard.headers["content-type"] == "application/json"


def test_a_receiver_that_fails_hears_the_same_event_again_signed_anew(
    session: Session, receiver: Receiver, start_courier: Callable[[], Courier]
) -> None:
    statuses = iter((500, 302, 429, 200))
    receiver.answer = lambda _: (next(statuses), {"location": receiver.url}, b"")
    delivery_id = tell(session, receiver.url, secret=SECRET, max_retries=5)
    start_courier()
    assert wait_for(session, delivery_id, "delivered").tries == 4
    assert {heard.headers["webhook-id"] for heard in receiver.heard} == {delivery_id}
    assert len({heard.body for heard in receiver.heard}) == 1
    for heard in receiver.heard:
        heard.unwrap(SECRET)
    batch = session.scalars(select(Batch)).one()
    text = logs.read_text(session, batch)
    assert text.count("webhook failed") == 3
    assert "error=HTTP 302, and redirects are not followed" in text
    assert "hidden" not in text


def test_after_its_retries_an_event_is_given_up_with_the_reason(
    session: Session, receiver: Receiver, start_courier: Callable[[], Courier]
) -> None:
    receiver.answer = lambda _: (500, {}, b"")
    delivery_id = tell(session, receiver.url, max_retries=2)
    start_courier()
    dead = wait_for(session, delivery_id, "dead")
    assert (dead.tries, dead.last_status_code, dead.last_error) == (3, 500, "HTTP 500")
    assert len(receiver.heard) == 3
    assert "ERROR   webhook given up" in logs.read_text(
        session, session.scalars(select(Batch)).one()
    )


def test_a_slow_receiver_holds_up_no_other(
    session: Session, receiver: Receiver, start_courier: Callable[[], Courier]
) -> None:
    is_free = threading.Event()

    def answer(heard: Heard) -> tuple[int, dict[str, str], bytes]:
        if heard.path == "/slow":
            is_free.wait(60)
        return 200, {}, b""

    receiver.answer = answer
    slow = [tell(session, f"http://localhost:{receiver.port}/slow", timeout=300) for _ in range(30)]
    quick = tell(session, receiver.url)
    start_courier()
    wait_for(session, quick, "delivered")

    def nobody_holds_a_transaction() -> bool:
        session.rollback()
        idle = session.connection().exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'idle in transaction'"
        )
        return idle.scalar() == 0

    # Between two statements of one that is short there is a moment, too.
    wait_until(nobody_holds_a_transaction, "no transaction is open", seconds=30)
    assert {delivery(session, each).status for each in slow} == {"pending"}
    is_free.set()
    for each in slow:
        wait_for(session, each, "delivered")


def test_a_courier_that_stops_leaves_its_open_tries_to_the_next(
    session: Session, receiver: Receiver, start_courier: Callable[[], Courier]
) -> None:
    is_free = threading.Event()
    receiver.answer = lambda _: (200 if is_free.wait(60) else 500, {}, b"")
    delivery_id = tell(session, receiver.url, timeout=300)
    courier = start_courier()
    wait_until(lambda: receiver.heard, "the first try has begun")
    courier.stop()
    left = delivery(session, delivery_id)
    assert (left.status, left.tries, left.claimed_until) == ("pending", 0, None)
    is_free.set()
    start_courier()
    assert wait_for(session, delivery_id, "delivered").tries == 1
    assert len({heard.body for heard in receiver.heard}) == 1


def test_a_secret_that_can_not_sign_is_given_up(
    session: Session, receiver: Receiver, start_courier: Callable[[], Courier]
) -> None:
    delivery_id = tell(session, receiver.url, secret="whsec_abc")
    start_courier()
    assert "secret" in (wait_for(session, delivery_id, "dead").last_error or "")
    assert receiver.heard == []


def test_an_endpoint_hears_under_both_secrets_and_each_try_is_in_the_log(
    session: Session, receiver: Receiver, start_courier: Callable[[], Courier]
) -> None:
    endpoint = add_endpoint(session, receiver.url)
    old = endpoint.secret
    webhook_endpoints.rotate_secret(session, endpoint, "test", keep_old=True)
    session.commit()
    statuses = iter((503, 200))
    receiver.answer = lambda _: (next(statuses), {}, b"")
    webhooks.enqueue(session, seed.add_batch(session, job_id=1), "completed")
    session.commit()
    start_courier()
    (delivery_id,) = session.scalars(select(WebhookDelivery.id))
    wait_for(session, delivery_id, "delivered")
    for heard in receiver.heard:
        for secret in (old, endpoint.secret):
            assert heard.unwrap(secret).type == "batch.completed"
    tries = delivery_log.tries_of(session, [delivery_id])[delivery_id]
    assert [each.status_code for each in tries] == [503, 200]
    assert [each.error for each in tries] == ["HTTP 503", None]
    assert all(0 <= each.milliseconds < 60_000 for each in tries)


def test_an_endpoint_of_a_private_address_is_given_up_at_once(
    session: Session, start_courier: Callable[[], Courier]
) -> None:
    add_endpoint(session, "http://10.0.0.1/")
    webhooks.enqueue(session, seed.add_batch(session, job_id=1), "completed")
    session.commit()
    start_courier()
    (delivery_id,) = session.scalars(select(WebhookDelivery.id))
    dead = wait_for(session, delivery_id, "dead")
    assert (dead.tries, dead.last_error) == (1, "10.0.0.1 does not have a public address")
    assert dead.died_at is not None


def test_a_test_of_a_rule_reaches_every_target_and_says_what_happened(
    session: Session,
    settings: Settings,
    engine: Engine,
    receiver: Receiver,
) -> None:
    receiver.answer = lambda _: (418, {}, b"")
    endpoint = add_endpoint(session, receiver.url)
    targets = ["ops@example.org", endpoint.id]
    wanted = {"name": "disk", "kind": "disk_low", "targets": targets}
    rule = alert_rules.create(session, "test", wanted)
    workers.beat(session, Pulse(uuid4(), "housekeeper", "h", status="running"))
    with sink() as server:
        chosen = {"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none"}
        quick = settings.model_copy(update={**QUICK_RETRIES, **chosen})
        courier = Courier(quick, sessionmaker(engine, expire_on_commit=False))
        courier.start()
        messages = alerts.test_messages(session, quick, rule)
        mailed, posted = delivery_tests.send(session, list(messages.values()), 30.0)
        courier.stop()
    assert (mailed.status, mailed.last_status_code) == ("delivered", 250)
    assert (posted.status, posted.last_error) == ("dead", "HTTP 418")
    assert server.mails[0]["Subject"] == "[Stoker] Test: disk"
    assert "nothing has happened" in server.mails[0].get_content()
    assert receiver.events == ["alert.test"]
    assert receiver.heard[0].unwrap(endpoint.secret).data.rule == "disk"


# One POST


def send(url: str, *hosts: str, timeout_seconds: float = 20.0) -> Outcome:
    return asyncio.run(
        posting.post(url, {}, b"{}", timeout_seconds=timeout_seconds, private_hosts=hosts)
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://LOCALHOST./", "http://[::1]/",
        "http://0.0.0.0/", "http://[::]/", "http://127.1/", "http://2130706433/", "http://0x7f000001/",
        "http://0177.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/", "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/", "http://10.0.0.1/", "http://192.168.0.1/", "http://[fe80::1]/",
        "http://224.0.0.1/", "http://255.255.255.255/", "http://①②⑦.0.0.1/",
    ],
)  # fmt: skip
def test_a_private_address_is_refused_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    forbid_connections(monkeypatch)
    outcome = send(url)
    assert outcome.error is not None
    assert outcome.status_code is None


def forbid_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", refuse)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Every name means these addresses; the list gets the names that were asked for."""
    asked: list[str] = []

    def look_up(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        asked.append(host if isinstance(host, str) else host.decode())
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM, 6, "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in addresses
        ]  # fmt: skip

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("93.184.216.34", "10.0.0.1"),
        ("2606:4700::1111", "::ffff:10.0.0.1"),
        ("64:ff9b::a9fe:a9fe",),
    ],
)
def test_a_name_with_any_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    forbid_connections(monkeypatch)
    resolve_to(monkeypatch, *addresses)
    outcome = send("https://innocent.example.org/hook")
    assert outcome == Outcome(
        error="innocent.example.org does not have a public address", is_hopeless=True
    )


def test_a_public_host_is_asked_at_the_webs_own_ports_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forbid_connections(monkeypatch)
    resolve_to(monkeypatch, "93.184.216.34")
    outcome = send("http://innocent.example.org:6379/")
    assert outcome == Outcome(error="port 6379 is not allowed", is_hopeless=True)


def test_a_name_is_looked_up_once_and_the_address_that_was_checked_is_asked(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    asked = resolve_to(monkeypatch, "127.0.0.1")
    url = f"http://hooks.example.org:{receiver.port}/"
    assert send(url, "hooks.example.org").status_code == 200
    assert asked == ["hooks.example.org"]
    assert receiver.heard[0].headers["host"] == f"hooks.example.org:{receiver.port}"


def test_a_name_that_turns_private_after_the_check_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    tried: list[str] = []

    def look_up(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    async def connect(addr_infos: Any, **_: Any) -> None:
        tried.extend(info[4][0] for info in addr_infos)
        raise OSError(errno.ECONNREFUSED, "refused")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", connect)
    assert send("http://rebind.example.org/") == Outcome(error="can't connect: Connection refused")
    assert set(tried) == {"93.184.216.34"}
    assert list(answers) == ["127.0.0.1", "127.0.0.1"]  # nobody was asked again


def test_a_redirect_into_the_house_is_not_followed(receiver: Receiver) -> None:
    with receive() as inner:
        receiver.answer = lambda _: (307, {"location": inner.url}, b"")
        assert send(receiver.url, "127.0.0.1").status_code == 307
        assert inner.heard == []


def test_proxies_of_the_environment_are_not_asked(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert send(receiver.url, "127.0.0.1").status_code == 200


def test_an_endless_answer_ends_the_try_and_its_status_counts(receiver: Receiver) -> None:
    receiver.answer = lambda _: (200, {"content-encoding": "gzip"}, b"x" * 10_000_000)
    assert send(receiver.url, "127.0.0.1") == Outcome(200)


def test_a_receiver_that_does_not_answer_is_left_after_the_time_out(receiver: Receiver) -> None:
    is_free = threading.Event()
    receiver.answer = lambda _: (200 if is_free.wait(60) else 500, {}, b"")
    outcome = send(receiver.url, "127.0.0.1", timeout_seconds=0.2)
    is_free.set()
    assert outcome == Outcome(error="no answer within 0.2 s")


def test_every_fault_has_its_words_without_the_url(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}/?token=hidden", "127.0.0.1") == Outcome(
        error="can't connect: Connection refused"
    )
    assert send(f"https://127.0.0.1:{receiver.port}/", "127.0.0.1") == Outcome(error="TLS failed")
    assert send("ftp://example.org/").is_hopeless

    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert send("http://nowhere.example.org/?token=hidden") == Outcome(
        error="the host's name can't be resolved"
    )


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0), ("0", 0.0), ("-5", -5.0), ("nan", None), ("inf", None), ("soon", None),
        (None, None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds(said: str | None, seconds: float | None) -> None:
    assert posting._retry_after(said) == seconds


def test_retry_after_is_read_as_a_date(receiver: Receiver) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    receiver.answer = lambda _: (503, {"retry-after": at}, b"")
    seconds = send(receiver.url, "127.0.0.1").retry_after_seconds
    assert seconds is not None
    assert 3600 < seconds <= 7200


# The whole


def test_a_batch_tells_its_progress_and_its_end(stack: Stack, receiver: Receiver) -> None:
    stack.start()
    stack.start("worker.housekeeper")
    events = ["completed", "failed", "progress"]
    webhook = {"url": receiver.url, "secret": "a plain text", "events": events}
    batch = stack.wait(stack.submit([chat(f"q-{n}") for n in range(40)], webhook=webhook))

    def told() -> list[int]:
        """How many requests were completed, by each event of progress."""
        events = [heard.event for heard in receiver.heard]
        return [
            each["data"]["request_counts"]["completed"]
            for each in events
            if each["type"] == "batch.progress"
        ]

    # Events are sent side by side: the last step may be heard after the end.
    wait_until(lambda: "batch.completed" in receiver.events, "the end is told")
    wait_until(lambda: 40 in told(), "the last step is told")
    for heard in receiver.heard:
        assert heard.unwrap("a plain text").data.id == batch.id
    assert 1 <= len(told()) <= 10
    assert max(told()) == 40
    bad = stack.wait(stack.submit(b"{}\n", webhook=webhook))
    wait_until(lambda: "batch.failed" in receiver.events, "the failed validation is told")
    (failed,) = (each.event for each in receiver.heard if each.event["type"] == "batch.failed")
    assert failed["data"] == {"id": bad.id}

    def log() -> str:
        return logs.read_text(stack.session, stack.refresh(batch))

    # What is heard is noted a moment later.
    wait_until(lambda: log().count("webhook delivered") == len(told()) + 1, "all is noted")
    text = log()
    assert "webhook delivered" in text
    assert "hidden" not in text
    assert "hidden" not in stack.logs()
    assert "a plain text" not in stack.logs()


def test_a_housekeeper_killed_before_it_noted_a_delivery_tells_it_again_under_the_same_id(
    stack: Stack, session: Session, receiver: Receiver
) -> None:
    delivery_id = tell(session, receiver.url, secret=SECRET, timeout=300)
    housekeeper = stack.start("worker.housekeeper")

    def answer(_: Heard) -> tuple[int, dict[str, str], bytes]:
        if len(receiver.heard) == 1:
            housekeeper.send_signal(signal.SIGKILL)
            housekeeper.wait()
        return 200, {}, b""

    receiver.answer = answer
    wait_until(lambda: housekeeper.poll() is not None, "the housekeeper is killed")
    assert delivery(session, delivery_id).status == "pending"
    stack.start("worker.housekeeper")
    assert wait_for(session, delivery_id, "delivered").tries == 1
    first, second = receiver.heard
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery_id
    assert first.body == second.body


def test_https_is_verified_for_the_hosts_name_at_the_address_that_was_checked(
    stack: Stack, session: Session, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificate(tmp_path / "localhost.pem"))
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    with receive(context) as receiver:
        assert "certificate is not valid" in (
            send(f"https://localhost:{receiver.port}/", "localhost").error or ""
        )
        stack.start("worker.housekeeper", SSL_CERT_FILE=str(tmp_path / "localhost.pem"))
        good = tell(session, f"https://localhost:{receiver.port}/")
        bad = tell(session, f"https://127.0.0.1:{receiver.port}/", max_retries=1)
        wait_for(session, good, "delivered")
        assert "certificate is not valid" in (wait_for(session, bad, "dead").last_error or "")
        assert {heard.event["id"] for heard in receiver.heard} == {good}
    assert "localhost" in names


def make_certificate(path: Path) -> Path:
    """A certificate for the name localhost alone, which is its own authority, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
