"""What the page of a batch's job says of the batch: its speed, its place in line, what failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.core import batch_standing, batches, history
from app.core.batch_standing import Standing
from app.core.errors import NotFound
from app.core.models import FINAL, Batch, Job
from app.core.users import Actor


@dataclass(frozen=True)
class JobBatch:
    """`standing` is that of GET /v1/queue; None when the batch has ended."""

    batch: Batch
    standing: Standing | None

    @property
    def status(self) -> str:
        """A validated one that has not begun is queued."""
        return history.native_status(self.batch)

    @property
    def answered(self) -> int:
        return self.batch.completed + self.batch.failed

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.batch.input_tokens + self.batch.output_tokens

    @property
    def average(self) -> float | None:
        """Tokens per second; once it has ended, over its whole run."""
        if self.standing is not None:
            return self.standing.average_tokens_per_second
        seconds = history.run_seconds(self.batch, datetime.now(UTC))
        return self.tokens / seconds if self.tokens and seconds else None


def read(session: Session, job: Job, actor: Actor) -> JobBatch | None:
    """The batch of a job that runs one; None of any other, and where it is gone or somebody else's."""
    batch_id = job.arguments.get("batch_id") if isinstance(job.arguments, dict) else None
    if job.task != batches.TASK or not isinstance(batch_id, str):
        return None
    try:
        batch = batches.get(session, batch_id, actor.owner_filter)
    except NotFound:
        return None
    standing = None if batch.status in FINAL else batch_standing.standing(session, batch.id)
    return JobBatch(batch, standing)
