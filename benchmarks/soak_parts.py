"""Stoker's worker and housekeeper with one more task, `soak`: a job that takes a moment.

python -m benchmarks.soak_parts worker|housekeeper
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from app.core import tasks
from app.core.tasks import Arguments, TaskSpec

TASK = "soak"


class Soak(Arguments):
    """`soak`: its number is its result."""

    number: int


# Before the parts are imported: the housekeeper puts back the jobs of the tasks that it knows.
tasks.TASKS[TASK] = TaskSpec(TASK, "Take a moment", tasks.QUEUE, Soak)


def work_a_moment(work: Any, asked: Soak) -> dict[str, int]:
    """Up to 0.2 s in small steps, so that it may be stopped in between."""
    until = time.monotonic() + random.uniform(0, 0.2)
    while time.monotonic() < until:
        work.check()
        time.sleep(0.01)
    return {"number": asked.number}


def main() -> int:
    if sys.argv[1] == "housekeeper":
        from worker.housekeeper import main as keep_house

        return keep_house()
    from worker.__main__ import main as run_worker
    from worker.tasks.work import built_in

    built_in(TASK, Soak)(work_a_moment)
    return run_worker()


if __name__ == "__main__":
    sys.exit(main())
