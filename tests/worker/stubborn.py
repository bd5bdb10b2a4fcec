"""A worker with one more task, which does not stop when it is told to."""

from __future__ import annotations

import sys
import time

from app.core.tasks import Arguments
from worker.__main__ import main
from worker.tasks.work import Result, Work, built_in


@built_in("stubborn", Arguments)
def stubborn(work: Work, asked: Arguments) -> Result:
    """Runs for ever."""
    work.progress(1, 2, "never looks up")
    while True:
        time.sleep(0.05)


@built_in("patient", Arguments)
def patient(work: Work, asked: Arguments) -> Result:
    """Runs until it is stopped."""
    while True:
        work.progress(1, 2, "looks up")
        work.check()
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
