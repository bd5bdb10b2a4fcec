"""The first page: what this server serves, what waits, and how to send a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template, request

from app.core import engines, queue
from app.extensions import current_settings, db
from app.pages.display import about, number
from app.pages.fragments import wants_fragment

blueprint = Blueprint("home", __name__)

_FIRST_BATCH = """\
. {env}
.venv/bin/python - <<'END'
from openai import OpenAI
client = OpenAI()    # OPENAI_BASE_URL={url} and OPENAI_API_KEY
file = client.files.create(file=open("examples/first_batch.jsonl", "rb"), purpose="batch")
print(client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id)
END"""


@dataclass(frozen=True)
class ServedModel:
    """A model of the registry, and whether it is in the engine now."""

    name: str
    endpoints: tuple[str, ...]
    is_loaded: bool


@blueprint.get("/")
def index() -> str:
    """The page, or only what changes on it."""
    session = db.session()
    now = queue.overview(session)
    return render_template(
        "home/_now.html" if wants_fragment() else "home/index.html",
        models=_served_models(now["worker"]["current_model"]),
        queue_sentence=_queue_sentence(now),
        first_batch=first_batch_command(),
        env_file=_env_file(),
    )


def first_batch_command() -> str:
    """What to paste to send a first batch; the key stays in the file that holds it."""
    return _FIRST_BATCH.format(env=_env_file(), url=f"{request.host_url}v1")


def _env_file() -> str:
    return str(current_settings().var / "env")


def _served_models(loaded: str | None) -> list[ServedModel]:
    registry = engines.load_registry(current_settings().models_path)
    return [
        ServedModel(name, tuple(spec.endpoints), name == loaded)
        for name, spec in registry.models.items()
    ]


def _queue_sentence(now: dict[str, Any]) -> str:
    """Like: One batch of gemma runs: 312 of 1,000 requests answered, about 40 s to go. 2 wait."""
    job, waiting = now["current_job"], now["queue"]
    words = "Nothing runs."
    if job is not None:
        done = job["progress"]
        words = (
            f"One batch of {job['model']} runs: {number(done['completed_requests'])} of "
            f"{number(done['total_requests'])} requests answered, "
            f"{about(job['timing']['eta_seconds'])} to go."
        )
    count = (
        f"{number(len(waiting))} {'waits' if len(waiting) == 1 else 'wait'}"
        if waiting
        else ("Nothing waits")
    )
    if now["worker"]["status"] in ("absent", "offline"):
        return f"{words} {count}. No worker is running: batches wait until one does."
    if not waiting:
        return f"{words} {count}."
    return f"{words} {count}; the next starts in {about(waiting[0]['starts_in_seconds'])}."
