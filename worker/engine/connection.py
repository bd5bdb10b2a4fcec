"""HTTP to the engine: one session over its unix socket, or to an external engine's URL."""

from __future__ import annotations

import asyncio
import os
from enum import Enum
from pathlib import Path

import aiohttp
import orjson

from app.core.engines import ModelSpec
from worker.engine.answers import Answer
from worker.engine.errors import EngineError
from worker.engine.metrics import parse

# Ours is told to keep connections for an hour (commands.py); others may close them after 5 s.
_OWN_KEEP_ALIVE_SECONDS = 600.0
_EXTERNAL_KEEP_ALIVE_SECONDS = 3.0
PROBE_SECONDS = 5.0
# How a lost connection shows; RuntimeError is aiohttp's "Session is closed", by our own stop.
LOST = (aiohttp.ClientError, OSError, RuntimeError)


class Health(Enum):
    """What the engine says when asked how it is."""

    GOOD = "good"
    BAD = "bad"
    SILENT = "silent"


class Connection:
    """One engine's address. Make and close it inside the event loop."""

    def __init__(self, spec: ModelSpec, socket: Path | None) -> None:
        headers = {"Content-Type": "application/json"}
        connector: aiohttp.BaseConnector
        if socket is not None:
            self._base = "http://engine"
            connector = aiohttp.UnixConnector(
                str(socket), limit=0, keepalive_timeout=_OWN_KEEP_ALIVE_SECONDS
            )
        else:
            self._base = spec.url or ""
            connector = aiohttp.TCPConnector(
                limit=0, limit_per_host=0, keepalive_timeout=_EXTERNAL_KEEP_ALIVE_SECONDS
            )
            if spec.api_key_env:
                headers["Authorization"] = f"Bearer {_key(spec)}"
        self._is_external = socket is None
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS)
        )

    async def post(
        self, endpoint: str, body: bytes, request_id: str, timeout_seconds: float
    ) -> Answer:
        """Ask once. Raises TimeoutError after `timeout_seconds`, and those of LOST."""
        async with self._session.post(
            self._base + endpoint,
            data=body,
            headers={"X-Request-Id": request_id},
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            allow_redirects=False,
        ) as response:
            return Answer(response.status, await response.read())

    async def health(self, timeout_seconds: float = PROBE_SECONDS) -> Health:
        """How the engine is; an external one without /health is well if it answers at all."""
        try:
            async with self._session.get(
                self._base + "/health", timeout=aiohttp.ClientTimeout(total=timeout_seconds)
            ) as response:
                is_good = response.status < 500 if self._is_external else response.status == 200
                return Health.GOOD if is_good else Health.BAD
        except TimeoutError:
            return Health.SILENT
        except LOST:
            return Health.BAD

    async def version(self) -> str | None:
        """The engine's version, if it says one."""
        try:
            async with self._session.get(self._base + "/version") as response:
                version = orjson.loads(await response.read()).get("version")
                return version if isinstance(version, str) else None
        except (*LOST, TimeoutError, ValueError, AttributeError):
            return None

    async def metrics(self, timeout_seconds: float = PROBE_SECONDS) -> dict[str, float] | None:
        """The engine's figures (metrics.py); None when it does not answer with them."""
        try:
            async with self._session.get(
                self._base + "/metrics", timeout=aiohttp.ClientTimeout(total=timeout_seconds)
            ) as response:
                return parse(await response.text()) if response.status == 200 else None
        except (*LOST, TimeoutError, ValueError):
            return None

    async def close(self) -> None:
        """Drop all connections: whoever waits for an answer gets a ClientError."""
        await self._session.close()
        # aiohttp's transports close in the loop's next turn.
        await asyncio.sleep(0)


def _key(spec: ModelSpec) -> str:
    key = os.environ.get(spec.api_key_env or "")
    if not key:
        raise EngineError(
            f"The model {spec.name} needs the environment variable {spec.api_key_env}, "
            "which is not set."
        )
    return key
