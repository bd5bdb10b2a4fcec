"""Stands in for vLLM where a test is about what surrounds it: ready at once, and made to misbehave.

`python fake_engine.py --uds SOCKET` (or `--port N`). It speaks vLLM's endpoints, health, version
and metrics. The environment or the text of a prompt tells it what to do wrong:

    FAKE_LOG=FILE      append one line per request it was asked: its id
    FAKE_DELAY=S       seconds before each answer          FAKE_START_DELAY=S  before it listens
    FAKE_CRASH_AT=N    exit when the Nth request arrives   FAKE_FREEZE=N  answer nothing from the Nth
    FAKE_START_ERROR=TEXT  say so and exit at once         FAKE_KEEP_ALIVE=S  idle connections' life
    FAKE_ANSWER=TEXT   what it answers
    FAKE_OOM_OVER=N    with more than N in it, it answers that the GPU's memory has run out
    FAKE_OOM_DIES=1    ... or says so and exits
    FAKE_FAMILY=1      start two more processes, one in a session of its own; all ignore SIGTERM

    "HUGE"    as with FAKE_OOM_OVER, even alone
    "CRASH"   exit              "SLOW 3"   answer after 3 s        "STATUS 400"  answer with it
    "STATUS 503 once"  only the first time a request id comes      "HANGUP once"  drop the connection
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from aiohttp import web

FAMILY = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class FakeEngine:
    """Counts what it is asked, and answers the same to the same."""

    def __init__(self) -> None:
        self.log = os.environ.get("FAKE_LOG")
        self.delay = float(os.environ.get("FAKE_DELAY", "0"))
        self.crash_at = int(os.environ.get("FAKE_CRASH_AT", "0"))
        self.freeze_at = int(os.environ.get("FAKE_FREEZE", "0"))
        self.oom_over = int(os.environ.get("FAKE_OOM_OVER", "0"))
        self.asked = 0
        self.seen: Counter[str] = Counter()
        self.figures = dict.fromkeys(("running", "prompt", "generation", "finished"), 0)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/health", self.health)
        app.router.add_get("/version", self.version)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/v1/models", self.models)
        for path in ("chat/completions", "completions", "embeddings", "responses"):
            app.router.add_post(f"/v1/{path}", self.answer)
        return app

    async def health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.0.fake"})

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    async def metrics(self, _: web.Request) -> web.Response:
        label = 'engine="0",model_name="fake"'
        return web.Response(
            text=f"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{{label}}} {self.figures["running"]}
vllm:num_requests_waiting{{{label}}} 0.0
vllm:kv_cache_usage_perc{{{label}}} 0.25
vllm:prefix_cache_queries_total{{{label}}} {self.figures["prompt"]}
vllm:prefix_cache_hits_total{{{label}}} 0.0
vllm:num_preemptions_total{{{label}}} 0.0
vllm:prompt_tokens_total{{{label}}} {self.figures["prompt"]}
vllm:generation_tokens_total{{{label}}} {self.figures["generation"]}
vllm:request_success_total{{{label},finished_reason="stop"}} {self.figures["finished"]}
vllm:request_success_total{{{label},finished_reason="length"}} 0.0
"""
        )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        request_id = request.headers.get("X-Request-Id", "")
        body = await request.json()
        prompt = text_of(body)
        self.asked += 1
        self.seen[request_id] += 1
        if self.log:
            with open(self.log, "a") as file:
                file.write(request_id + "\n")
        self.figures["running"] += 1
        try:
            if "HUGE" in prompt or 0 < self.oom_over < self.figures["running"]:
                return run_out_of_memory()
            await self.misbehave(request, request_id, prompt)
        finally:
            self.figures["running"] -= 1
        status = self.status(request_id, prompt)
        if status != 200:
            return refuse(status)
        used = len(prompt.split())
        self.figures["prompt"] += used
        self.figures["generation"] += 4
        self.figures["finished"] += 1
        return web.json_response(made(request.path, request_id, body, prompt, used))

    async def misbehave(self, request: web.Request, request_id: str, prompt: str) -> None:
        if "CRASH" in prompt or self.asked == self.crash_at:
            os._exit(1)
        if self.freeze_at and self.asked >= self.freeze_at:
            await asyncio.sleep(3600)
        if "HANGUP once" in prompt and self.seen[request_id] == 1:
            assert request.transport is not None
            request.transport.abort()
        slow = re.search(r"SLOW ([\d.]+)", prompt)
        await asyncio.sleep(float(slow[1]) if slow else self.delay)

    def status(self, request_id: str, prompt: str) -> int:
        found = re.search(r"STATUS (\d{3})( once)?", prompt)
        if not found or (found[2] and self.seen[request_id] > 1):
            return 200
        return int(found[1])


def text_of(body: dict[str, Any]) -> str:
    """All text of a request, whichever endpoint it is for."""
    if "messages" in body:
        return " ".join(str(message.get("content", "")) for message in body["messages"])
    asked = body.get("prompt") or body.get("input") or ""
    return asked if isinstance(asked, str) else json.dumps(asked)


def run_out_of_memory() -> web.Response:
    words = "CUDA out of memory. Tried to allocate 2.00 GiB."
    if os.environ.get("FAKE_OOM_DIES"):
        print(f"torch.OutOfMemoryError: {words}", file=sys.stderr, flush=True)
        os._exit(1)
    return refuse(500, words)


def refuse(status: int, message: str = "") -> web.Response:
    error = {
        "message": message or f"The fake engine was told to answer {status}.",
        "type": "BadRequestError" if status < 500 else "InternalServerError",
        "param": None,
        "code": status,
    }
    return web.json_response({"error": error}, status=status)


def made(
    path: str, request_id: str, body: dict[str, Any], prompt: str, used: int
) -> dict[str, Any]:
    """An answer in the shape of the endpoint, the same for the same prompt."""
    words = os.environ.get("FAKE_ANSWER")
    words = words or f"answer {hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
    model, created = body.get("model", "fake"), int(time.time())
    usage = {
        "prompt_tokens": used,
        "completion_tokens": 4,
        "total_tokens": used + 4,
        "prompt_tokens_details": {"cached_tokens": used // 2},
    }
    if path.endswith("/chat/completions"):
        message = {"role": "assistant", "content": words}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
        return {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
    if path.endswith("/completions"):
        choice = {"index": 0, "text": words, "finish_reason": "stop", "logprobs": None}
        return {
            "id": f"cmpl-{request_id}",
            "object": "text_completion",
            "created": created,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
    if path.endswith("/embeddings"):
        count = len(body["input"]) if isinstance(body.get("input"), list) else 1
        return {
            "object": "list",
            "model": model,
            "data": [
                {"object": "embedding", "index": i, "embedding": [0.6, 0.8]} for i in range(count)
            ],
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }
    content = [{"type": "output_text", "text": words, "annotations": []}]
    return {
        "id": f"resp_{request_id}",
        "object": "response",
        "created_at": created,
        "status": "completed",
        "model": model,
        "output": [{"type": "message", "role": "assistant", "content": content}],
        "usage": {
            "input_tokens": used,
            "input_tokens_details": {"cached_tokens": used // 2},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used + 4,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--uds")
    parser.add_argument("--port", type=int)
    where = parser.parse_args()
    if os.environ.get("FAKE_START_ERROR"):
        sys.exit(os.environ["FAKE_START_ERROR"])
    if os.environ.get("FAKE_FAMILY"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for moved in (False, True):
            subprocess.Popen([sys.executable, "-c", FAMILY], start_new_session=moved)
    time.sleep(float(os.environ.get("FAKE_START_DELAY", "0")))
    web.run_app(
        FakeEngine().application(),
        path=where.uds,
        host="127.0.0.1" if where.port else None,
        port=where.port,
        print=None,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=0,
        keepalive_timeout=float(os.environ.get("FAKE_KEEP_ALIVE", "600")),
    )


if __name__ == "__main__":
    main()
