"""The first batch: real prompts through our own API, watched until it is final."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from app.cli import progress
from app.cli.screen import Screen
from app.cli.up.client import ApiError, Client
from app.cli.up.models import CHAT_MODEL
from app.cli.up.preflight import UpError
from app.core.engines import load_registry

FILE = Path(__file__).parents[3] / "examples" / "first_batch.jsonl"
ENDPOINT = "/v1/chat/completions"
POLL_SECONDS = 0.5
SHOWN = 3


def can_answer(registry: Path) -> bool:
    """Whether some model in the registry serves what the first batch asks for."""
    return any(ENDPOINT in model.endpoints for model in load_registry(registry).models.values())


def chat_model(registry: Path) -> str:
    """The demonstration model, or else the first in the registry that chats. Raises UpError."""
    models = load_registry(registry).models
    able = [name for name, model in models.items() if ENDPOINT in model.endpoints]
    if not able:
        raise UpError(f"No model in {registry} serves {ENDPOINT}, which the first batch asks for.")
    return CHAT_MODEL if CHAT_MODEL in able else able[0]


async def has_any(client: Client) -> bool:
    """Whether this server has had a batch before."""
    return bool((await asyncio.to_thread(client.get, "/v1/batches?limit=1"))["data"])


async def submit(client: Client, registry: Path) -> dict[str, Any]:
    """Upload the prompts, for a model that is served here, and create the batch."""
    content = FILE.read_bytes()
    model = chat_model(registry)
    if model != CHAT_MODEL:
        lines = [json.loads(line) for line in content.splitlines()]
        for line in lines:
            line["body"]["model"] = model
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = await asyncio.to_thread(client.upload, FILE.name, content)
    body = {
        "input_file_id": file["id"],
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "metadata": {"from": "flask up"},
    }
    batch: dict[str, Any] = await asyncio.to_thread(client.post, "/v1/batches", body)
    return batch


async def watch(client: Client, batch: dict[str, Any], screen: Screen) -> dict[str, Any]:
    """Show its progress until it is final; returns it as it is then."""
    total = sum(1 for _ in FILE.open())
    text = f"First batch: {total} prompts"
    with screen.step(text, "First batch: ended", total=total) as step:
        speed, seen_at = progress.Speed(), time.monotonic()
        while batch["status"] not in progress.FINAL:
            await asyncio.sleep(POLL_SECONDS)
            try:
                batch = await asyncio.to_thread(client.get, f"/v1/batches/{batch['id']}")
                seen_at = time.monotonic()
            except (OSError, ApiError) as fault:
                if time.monotonic() > seen_at + progress.PATIENCE_SECONDS:
                    raise UpError(f"The first batch can't be watched: {fault}", 1) from fault
            progress.show(step, batch, speed, "First batch")
    return batch


async def show_answers(client: Client, batch: dict[str, Any], screen: Screen) -> bool:
    """Three prompts with their answers, and the totals; returns whether all were answered."""
    counts = batch["request_counts"]
    if batch["output_file_id"]:
        prompts = {line["custom_id"]: line["body"] for line in map(json.loads, FILE.open())}
        path = f"/v1/files/{batch['output_file_id']}/content"
        answers = await asyncio.to_thread(client.get_lines, path)
        spread = {number * (len(answers) - 1) // (SHOWN - 1) for number in range(SHOWN)}
        for answer in (answers[number] for number in sorted(spread) if answers):
            said = answer["response"]["body"]["choices"][0]["message"]["content"]
            screen.line()
            screen.line(f"  {prompts[answer['custom_id']]['messages'][-1]['content']}", "bold")
            screen.line(f"  {' '.join(said.split())}")
        screen.line()
    seconds = (batch["completed_at"] or time.time()) - (batch["in_progress_at"] or time.time())
    tokens = (batch.get("usage") or {}).get("total_tokens", 0)
    screen.line(
        f"{counts['completed']} of {counts['total']} requests answered, {counts['failed']} failed, "
        f"{tokens} tokens, {seconds:.0f} s from start to finish: batch {batch['id']} is "
        f"{batch['status']}."
    )
    for error in ((batch.get("errors") or {}).get("data") or [])[:SHOWN]:
        screen.line(f"  {error['message']}", "red")
    return bool(batch["status"] == "completed" and counts["completed"] == counts["total"])
