"""The processes that work: a live worker, its engine, a live housekeeper."""

from __future__ import annotations

from typing import Any

from app.core import adoption
from app.core.checkup.findings import Finding, Patient, check, failed, ok, some, warning

_START = "Start it: `flask up`, or `systemctl start stoker.target`; its own lines say why it ended."


def _alive(patient: Patient, kind: str) -> list[tuple[Any, ...]]:
    return patient.rows(
        "SELECT name, status, current_model, engine_status, engine_error FROM worker"
        " WHERE kind = %s AND stopped_at IS NULL"
        " AND last_heartbeat_at > clock_timestamp() - make_interval(secs => %s)"
        " ORDER BY last_heartbeat_at DESC",
        kind,
        patient.settings.worker_stale_seconds,
    )


def _live_one(patient: Patient, kind: str, consequence: str) -> Finding:
    alive = _alive(patient, kind)
    if alive:
        return ok(f"{some([f'{name} ({status})' for name, status, *_ in alive])}.")
    silent = patient.ask(
        "SELECT date_part('epoch', clock_timestamp() - max(last_heartbeat_at)) FROM worker"
        " WHERE kind = %s",
        kind,
    )
    since = "none was ever heard of" if silent is None else f"the last was heard {silent:.0f} s ago"
    said = f"No {kind} lives ({since}): {consequence}."
    if kind == "worker" and adoption.is_adopted(patient.driver):
        return ok(f"{said[:-1]}, which another app's queue can do without.")
    return failed(said, _START)


@check("worker", needs="schema")
def check_worker(patient: Patient) -> Finding:
    """A worker lives."""
    return _live_one(patient, "worker", "batches and jobs wait")


@check("engine", needs="schema")
def check_engine(patient: Patient) -> Finding:
    """The engine is ready, or at least has not failed."""
    alive = _alive(patient, "worker")
    if not alive:
        return ok("There is no live worker whose engine could be asked.")
    for name, _, _, status, error in alive:
        if error is not None or status == "failed":
            return failed(
                f"The engine of {name} has failed: {error or 'no reason was given'}",
                f"Read its log in {patient.settings.logs_path} (engine-….log), and mend the model's "
                "entry in the models file.",
            )
    _, _, model, status, _ = alive[0]
    match status:
        case "ready":
            return ok(f"Ready, with {model}.")
        case "starting":
            return ok(f"It loads {model or 'a model'}.")
        case _:
            return ok("No model is loaded; the first batch has one loaded.")


@check("housekeeper", needs="schema")
def check_housekeeper(patient: Patient) -> Finding:
    """A housekeeper lives, and one of them leads."""
    found = _live_one(
        patient, "housekeeper", "lost jobs, expiry, retention and webhooks are seen to by nobody"
    )
    statuses = {status for _, status, *_ in _alive(patient, "housekeeper")}
    if statuses == {"standby"}:
        return warning(
            f"None of them leads: {found.said}", "Look again in a few seconds; one takes the lead."
        )
    return found
