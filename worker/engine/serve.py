"""Starts vLLM's OpenAI server; on a CPU in a third of the time its own command takes.

It runs inside the engine's process, started by its path. vLLM imports 10 s worth of modules in each
of its three processes because it spawns them; forked, they have the modules already, and share
their memory. vLLM itself forks on a GPU, and computes in the core's process when one worker is
enough; on a CPU it asks for spawning, and for a process of its own for the worker, so that the
worker's OpenMP finds its own environment, which ours all have from the start. A worker in a process
of its own is waited for by a loop that takes half of a core (measured on two of them: 128 chats
with two OpenMP threads 539 to 543 tokens/s with such a worker, 584 to 699 without).
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import threading
from multiprocessing import process, shared_memory
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run the server with this process's arguments."""
    name_shared_memory(Path(os.environ.get("TMPDIR", "/tmp/engine")).name)  # noqa: S108
    die_with_the_parent()
    use_few_processes_on_a_cpu()
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")


def name_shared_memory(prefix: str) -> None:
    """Give this family's shared memory and semaphores a name of its own.

    vLLM kills its own cleaner when it ends, and what is left would fill /dev/shm; by this name
    whoever ends the family finds and removes it (process.py).
    """
    vars(shared_memory).update(_SHM_NAME_PREFIX=f"/{prefix}-", _SHM_SAFE_NAME_LENGTH=64)
    vars(process.current_process())["_config"]["semprefix"] = f"/{prefix}-"


def die_with_the_parent() -> None:
    """Make the kernel end every forked child when its parent dies, however that happens."""
    libc = ctypes.CDLL(None)
    # The signal comes when the forking *thread* ends: set it only where that is the process.
    is_main = threading.local()

    def before() -> None:
        is_main.answer = threading.current_thread() is threading.main_thread()
        is_main.parent = os.getpid()

    def in_child() -> None:
        if is_main.answer:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != is_main.parent:
                os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_child)


def use_few_processes_on_a_cpu() -> None:
    """Undo the CPU platform's wish for spawned processes and a worker apart, if it still has it."""
    from vllm.platforms import current_platform

    platform = type(current_platform)
    configure = getattr(platform, "check_and_update_config", None)
    if configure is None or not current_platform.is_cpu():
        return

    def and_undo(vllm_config: Any) -> None:
        backend = getattr(vllm_config.parallel_config, "distributed_executor_backend", None)
        configure(vllm_config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        if backend == "uni":
            vllm_config.parallel_config.distributed_executor_backend = backend

    platform.check_and_update_config = staticmethod(and_undo)


if __name__ == "__main__":
    main()
