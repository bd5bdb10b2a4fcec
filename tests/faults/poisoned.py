"""A worker that some work kills: `python -m tests.faults.poisoned`, in place of `python -m worker`.

A request that says POISON and an export of incidents kill the process, as if memory had run out.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

from worker import bodies
from worker.__main__ import main
from worker.tasks.registered import app

_read = bodies.BodyReader.read


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _read_or_die(self: bodies.BodyReader, position: int, length: int) -> bytes:
    body = _read(self, position, length)
    if b"POISON" in body:
        _die()
    return body


def _poison_export() -> None:
    task = app.tasks["export"]
    run = task.func

    async def run_or_die(context: Any, /, **given: Any) -> Any:
        if given.get("what") == "events":
            _die()
        return await run(context, **given)

    task.func = run_or_die


if __name__ == "__main__":
    bodies.BodyReader.read = _read_or_die  # type: ignore[method-assign]
    _poison_export()
    sys.exit(main())
