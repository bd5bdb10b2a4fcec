"""Whether the service lives and is ready: for load balancers, supervisors and people."""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Flask, Response, jsonify
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.auth import public
from app.core import schema
from app.core.models import Adoption, Worker
from app.errors import translate
from app.extensions import current_settings, db

blueprint = Blueprint("operation", __name__)


def register(app: Flask) -> None:
    """Attach the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/health")
@blueprint.get("/healthz")
@public
def health() -> Response:
    """The process answers; it says nothing of the database."""
    return jsonify(status="healthy")


@blueprint.get("/readyz")
@public
def readyz() -> tuple[Response, int]:
    """Database, schema version and a live worker; 503 when one of them is missing."""
    checks = _checks(db.session(), current_settings().worker_stale_seconds)
    is_ready = all(checks.values())
    body = jsonify(status="ready" if is_ready else "unready", checks=checks)
    if not is_ready:
        body.headers["Retry-After"] = "2"
    return body, 200 if is_ready else 503


def _checks(session: Session, stale_seconds: float) -> dict[str, bool]:
    checks = {"database": False, "schema": False, "worker": False}
    try:
        session.execute(text("SELECT 1"))
        checks["database"] = True
        version = session.scalar(text("SELECT version_num FROM alembic_version"))
        checks["schema"] = version == _newest_version()
        checks["worker"] = bool(
            session.scalar(
                select(func.count())
                .select_from(Worker)
                .where(
                    Worker.kind == "worker",
                    Worker.stopped_at.is_(None),
                    Worker.last_heartbeat_at
                    > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, stale_seconds),
                )
            )
        )
        if not checks["worker"] and session.scalar(select(Adoption.id)) is not None:
            del checks["worker"]  # another app's queue may do without one of ours
    except Exception as fault:  # a check that can't be made has failed; the answer says which
        if translate(fault).http_status != 503:
            raise
        session.rollback()
    return checks


@cache
def _newest_version() -> str:
    return schema.head()
