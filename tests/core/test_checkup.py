"""The check-up: each fault that it knows is found, named, and has a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import checkup, embedded
from app.core.checkup import Finding, database, installation, load
from app.core.checkup.findings import Patient
from app.core.models import Worker
from app.core.settings import Settings, load_settings


def examine(settings: Settings) -> dict[str, Finding]:
    return dict(checkup.examine(settings, settings.database_url))


def add_worker(session: Session, kind: str = "worker", **values: Any) -> None:
    session.add(
        Worker(
            id=uuid4(),
            kind=kind,
            name=f"{kind}-1",
            host="here",
            pid=1,
            **{"status": "running", **values},
        )
    )
    session.commit()


@pytest.fixture
def patient(settings: Settings) -> Iterator[Patient]:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        yield Patient(settings, settings.database_url, connection)


def write_models(settings: Settings, content: str) -> None:
    settings.models_path.parent.mkdir(parents=True, exist_ok=True)
    settings.models_path.write_text(content)


def test_a_sound_installation_has_no_fault(
    settings: Settings, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_LITTLE_BYTES", 0)  # the disk is this machine's
    add_worker(session, engine_status="ready", current_model="fake")
    add_worker(session, "housekeeper")
    write_models(settings, '[models.fake]\npath = "."\ncommand = ["true"]\n')

    found = examine(settings)

    assert {name: each for name, each in found.items() if each.status != "ok"} == {}
    assert set(found) == {check.name for check in checkup.CHECKS} | {"database"}
    assert "Ready, with fake" in found["engine"].said


def test_without_a_database_the_rest_is_checked(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://127.0.0.1:1/none"})
    found = examine(away)
    assert found["database"].status == "failed"
    assert found["python"].status == "ok"
    assert "schema" not in found
    assert dict(checkup.examine(settings, None))["database"].status == "failed"


def test_a_database_without_tables_is_one_failed_check_and_not_many(
    settings: Settings, session: Session
) -> None:
    session.execute(text("DROP SCHEMA public CASCADE"))
    session.execute(text("CREATE SCHEMA public"))
    session.commit()
    found = examine(settings)
    assert found["schema"].remedy == "Run `flask db upgrade`."
    assert {"worker", "indexes", "record"}.isdisjoint(found)
    assert found["clock"].status == "ok"


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ("UPDATE alembic_version SET version_num = '0001'", "schema", "0001"),
        (
            "DELETE FROM procrastinate_migration WHERE name = (SELECT max(name) FROM"
            " procrastinate_migration)",
            "schema",
            "are missing",
        ),
        ("INSERT INTO procrastinate_migration VALUES ('99.sql')", "schema", "99.sql"),
        (
            "ALTER TABLE procrastinate_jobs DISABLE TRIGGER stoker_changed",
            "record",
            "is not recorded",
        ),
        ("DROP INDEX batch_job_idx", "indexes", "missing: batch_job_idx"),
        ("DROP INDEX procrastinate_jobs_worker_id_idx", "indexes", "worker_id_idx"),
        (
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'batch_created_idx'::regclass",
            "indexes",
            "left batch_created_idx",
        ),
    ],
)
def test_what_is_wrong_with_the_schema_fails_with_its_remedy(
    settings: Settings, session: Session, change: str, check: str, said: str
) -> None:
    session.execute(text(change))
    session.commit()
    finding = examine(settings)[check]
    assert finding.status == "failed"
    assert said in finding.said
    assert finding.remedy


def test_a_role_that_lacks_rights_is_named_with_what_it_lacks(
    patient: Patient, session: Session
) -> None:
    role = f"weak_{uuid4().hex[:8]}"
    patient.driver.execute(f"CREATE ROLE {role}".encode())
    try:
        patient.driver.execute(f"GRANT USAGE ON SCHEMA public TO {role}".encode())
        patient.driver.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}".encode())
        patient.driver.execute(f"SET ROLE {role}".encode())
        finding = database.check_privileges(patient)
        patient.driver.execute(b"RESET ROLE")
        assert finding.status == "failed"
        assert f"The role {role} lacks DELETE on " in finding.said
        assert f"TO {role};" in (finding.remedy or "")

        patient.driver.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
        patient.driver.execute(f"SET ROLE {role}".encode())
        assert "next month's partitions" in database.check_privileges(patient).said
    finally:
        patient.driver.execute(b"RESET ROLE")
        patient.driver.execute(f"DROP OWNED BY {role}".encode())
        patient.driver.execute(f"DROP ROLE {role}".encode())


def test_a_clock_that_differs_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    real = database.time.time
    for seconds, status in ((0, "ok"), (5, "warning"), (-3600, "failed")):
        monkeypatch.setattr(database.time, "time", lambda seconds=seconds: real() + seconds)
        assert database.check_clock(patient).status == status
        monkeypatch.undo()


def test_too_few_connections_are_counted_out(settings: Settings, patient: Patient) -> None:
    assert load.check_connections(patient).status == "ok"
    many = settings.model_copy(update={"web_workers": 8, "pool_size": 40})
    finding = load.check_connections(Patient(many, "", patient.connection))
    needed = 9 * 42 + load.WORKER_CONNECTIONS + load.HOUSEKEEPER_CONNECTIONS
    assert finding.status == "failed"
    assert f"may need {needed} and 197 are offered" in finding.said


def test_an_old_transaction_is_named_with_the_statement_that_ends_it(
    settings: Settings, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load.check_transactions(patient).status == "ok"
    monkeypatch.setattr(load, "_OLD_MINUTES", 0)
    with psycopg.connect(settings.database_url, application_name="a report") as other:
        other.execute("SELECT 1")
        pid = other.info.backend_pid
        finding = load.check_transactions(patient)
    assert finding.status == "warning"
    assert "a report" in finding.said
    assert f"pg_terminate_backend({pid})" in (finding.remedy or "")


def test_many_dead_rows_are_a_warning(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("procrastinate_jobs", 50_000, 100), ("procrastinate_events", 3, 100)]
    monkeypatch.setattr(Patient, "rows", lambda *_: answers)
    finding = load.check_dead_rows(patient)
    assert (finding.status, "VACUUM procrastinate_jobs" in (finding.remedy or "")) == (
        "warning",
        True,
    )
    answers[0] = ("procrastinate_jobs", 50_000, 5_000_000)
    assert load.check_dead_rows(patient).status == "ok"


def test_processes_that_are_gone_or_broken_are_found(settings: Settings, session: Session) -> None:
    found = examine(settings)
    assert "none was ever heard of" in found["worker"].said
    assert (found["worker"].status, found["housekeeper"].status) == ("failed", "failed")

    silent = datetime.now(UTC) - timedelta(minutes=9)
    add_worker(session, last_heartbeat_at=silent)
    add_worker(session, "housekeeper", status="standby")
    found = examine(settings)
    assert "heard 5" in found["worker"].said
    assert found["housekeeper"].status == "warning"

    add_worker(session, engine_status="failed", engine_error="CUDA out of memory")
    found = examine(settings)
    assert found["worker"].status == "ok"
    assert found["engine"].status == "failed"
    assert "CUDA out of memory" in found["engine"].said
    assert str(settings.logs_path) in (found["engine"].remedy or "")


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        ("", "warning", "names no model"),
        ("[models", "failed", "is not valid TOML"),
        ('[models.gone]\npath = "./nowhere"\n', "failed", "gone ("),
        ('[models.empty]\npath = "."\n', "failed", "empty ("),
        ('[models.there]\npath = "there"\n', "ok", "1 in "),
        ('[models.far]\nurl = "http://gpu2:8000"\n', "ok", "1 in "),
        ('[models.hub]\npath = "org/name"\n', "ok", "from a hub, at their first start: hub"),
    ],
)
def test_models_without_their_files_are_found(
    settings: Settings, content: str, status: str, said: str
) -> None:
    write_models(settings, content)
    there = settings.var_path / "there"
    there.mkdir()
    (there / "config.json").write_text("{}")
    found = dict(checkup.examine(settings, None))["models"]
    assert (found.status, said in found.said) == (status, True), found


def test_a_full_disk_and_a_folder_that_is_none_are_found(tmp_path: Path) -> None:
    full = load_settings(var=tmp_path / "var", min_free_disk_bytes=2**60)
    assert dict(checkup.examine(full, None))["data folder"].status == "failed"
    (tmp_path / "file").write_text("")
    wrong = load_settings(var=tmp_path / "file")
    assert "can't be written" in dict(checkup.examine(wrong, None))["data folder"].said


def test_the_embedded_servers_data_of_another_version_are_found(tmp_path: Path) -> None:
    settings = load_settings(var=tmp_path / "var")
    assert "has no data yet" in dict(checkup.examine(settings, None))["embedded server"].said
    data = settings.var_path / "postgres" / "data"
    data.mkdir(parents=True)
    for had, status in ((embedded.major(), "ok"), ("12", "failed")):
        (data / "PG_VERSION").write_text(f"{had}\n")
        assert dict(checkup.examine(settings, None))["embedded server"].status == status
