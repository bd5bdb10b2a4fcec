"""Stands in for the worker where a test kills it: starts an engine and waits to be killed.

`python hold_engine.py DATA_FOLDER SPEC_JSON`; prints "ready" once the engine answers.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from app.core.engines import ModelSpec
from app.core.settings import Settings
from worker.engine import Engine


async def main() -> None:
    engine = Engine(Settings(var=Path(sys.argv[1])))
    await engine.start(ModelSpec.model_validate_json(sys.argv[2]))
    print("ready", flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main())
