"""How a batch gets on, in one line: what `flask up` and `flask batches` show while they watch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from app.cli.screen import Step

FINAL = {"completed", "failed", "expired", "cancelled"}
# How long the web or the database may be away, restarted by somebody, before watching is given up.
PATIENCE_SECONDS = 60.0


@dataclass
class Speed:
    """Tokens per second since the first answer, and what that says of the time left."""

    first_at: float = 0.0
    first_tokens: int = 0
    first_done: int = 0

    def note(self, done: int, total: int, tokens: int) -> str:
        """In words, for the progress bar."""
        now = time.monotonic()
        if not done:
            return f"0 of {total} requests"
        if not self.first_at:
            self.first_at, self.first_tokens, self.first_done = now, tokens, done
        said = f"{done} of {total} requests"
        seconds = now - self.first_at
        if done > self.first_done and seconds > 0:
            left = (total - done) * seconds / (done - self.first_done)
            said += f" · {(tokens - self.first_tokens) / seconds:.0f} tokens/s · {left:.0f} s left"
        return said


def show(step: Step, batch: dict[str, Any], speed: Speed, name: str) -> None:
    """Say it of a batch as the API describes it."""
    counts = batch.get("request_counts") or {}
    done = counts.get("completed", 0) + counts.get("failed", 0)
    if done or batch["status"] == "finalizing":
        tokens = (batch.get("usage") or {}).get("output_tokens", 0)
        note = speed.note(done, counts["total"], tokens)
        step.update(text=f"{name}:", done=done, total=counts["total"], note=note)
    else:
        step.update(text=f"{name}: {_waiting(batch)}", done=0)


def _waiting(batch: dict[str, Any]) -> str:
    if batch["status"] == "validating":
        return "the file is validated"
    if batch["status"] == "cancelling":
        return "it is being cancelled"
    if batch["in_progress_at"] is None:
        ahead = batch.get("queue_position")
        return "it waits for its turn" + (f", {ahead} in the queue" if ahead else "")
    return "the engine loads the model"
