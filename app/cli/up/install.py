"""Installs a lock file into a virtual environment; run by make with the system's Python.

Only the standard library: nothing is installed yet. pip's words go to a log in the environment;
what goes wrong is said in one sentence.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

# The environment with its packages, and what pip holds beside it meanwhile.
NEEDED_BYTES = {"cpu": 5 * 1024**3, "gpu": 20 * 1024**3}
NO_NETWORK = re.compile(
    r"NewConnectionError|name resolution|Network is unreachable|Connection refused|ConnectTimeout"
    r"|Max retries exceeded|Name or service not known|No route to host|ProxyError"
)
WRONG_HASH = "DO NOT MATCH THE HASHES"
LINE_SECONDS = 10.0


class InstallError(Exception):
    """The message is one sentence that says what is wrong and what to do."""


class Progress:
    """One line that says how far a step is; rewritten on a terminal, repeated now and then else."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.begun_at = time.monotonic()
        self.said_at = 0.0

    def say(self, text: str, *, is_last: bool = False) -> None:
        now = time.monotonic()
        text = f"{text} ({now - self.begun_at:.0f} s)"
        if self.is_terminal:
            print(f"\r\x1b[K{text}", end="\n" if is_last else "", flush=True)
        elif is_last or now - self.said_at >= LINE_SECONDS:
            self.said_at = now
            print(text, flush=True)


def main() -> int:
    """Install what the lock file names, unless exactly that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--stamp", type=Path, required=True)
    parser.add_argument("--torch-lock", type=Path, help="the build of torch that has its own index")
    parser.add_argument("--torch-index", help="where it is when pip's own places don't have it")
    given = parser.parse_args()
    try:
        install(given.venv, given.lock, given.stamp, given.torch_lock, given.torch_index)
    except InstallError as fault:
        print(f"\n{fault}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; run it again to go on.", file=sys.stderr)
        return 130
    return 0


def install(
    venv: Path, lock: Path, stamp: Path, torch_lock: Path | None, torch_index: str | None
) -> None:
    """Raises InstallError."""
    # The CPU's and the GPU's engine are different packages with the same files.
    family = "cpu" if torch_lock else "gpu"
    locks = [torch_lock, lock] if torch_lock else [lock]
    content = b"".join(each.read_bytes() for each in locks)
    mark = f"{family} {hashlib.sha256(content).hexdigest()}\n"
    had = stamp.read_text() if stamp.exists() else ""
    if had != mark:
        others = [file.read_text().split()[0] for file in venv.glob(".installed-*")]
        make_environment(venv, family, is_clean=any(other != family for other in others))
        python = venv / "bin" / "python"
        if torch_lock:
            install_torch(python, torch_lock, torch_index)
        names = sum(1 for line in lock.read_text().splitlines() if "==" in line.split("#")[0])
        command = ["--require-hashes", "-r", str(lock)]
        fault = pip(python, command, names, f"the {names} packages of {lock.name}")
        if fault:
            raise InstallError(sentence(fault, venv))
        compile_bytecode(python, venv)
        stamp.write_text(mark)
    stamp.touch()


def make_environment(venv: Path, family: str, *, is_clean: bool) -> None:
    """Make the virtual environment unless it is there."""
    if (venv / "bin" / "python").exists() and not is_clean:
        return
    if importlib.util.find_spec("ensurepip") is None:
        raise InstallError(
            f"This Python ({sys.executable}) can't make virtual environments: install its venv "
            "package (on Debian and Ubuntu: apt install python3-venv)."
        )
    free, needed = shutil.disk_usage(venv.absolute().parent).free, NEEDED_BYTES[family]
    if free < needed:
        raise InstallError(
            f"Not enough disk space for the packages: {venv.absolute().parent} has "
            f"{free / 1024**3:.1f} GB free and they need {needed / 1024**3:.0f} GB."
        )
    print(f"Making {venv} with Python {sys.version.split()[0]}", flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True
    )
    if made.returncode:
        words = (made.stderr or made.stdout).strip().splitlines() or ["no reason given"]
        raise InstallError(f"The virtual environment {venv} can't be made: {words[-1]}")


def install_torch(python: Path, lock: Path, index: str | None) -> None:
    """From pip's own places; where they don't have that build, from the named index."""
    places = [[], ["--index-url", index]] if index else [[]]
    what = lock.read_text().split(maxsplit=1)[0]
    fault = ""
    for place in places:
        fault = pip(python, [*place, "--require-hashes", "-r", str(lock)], 1, what)
        if not fault:
            return
        if WRONG_HASH in fault:
            break
    raise InstallError(sentence(fault, python.parents[1]))


def pip(python: Path, arguments: list[str], names: int, what: str) -> str:
    """Run pip with progress; returns what it said if it failed, else nothing."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    command = [str(python), "-m", "pip", "install", "--no-deps", "--no-compile", *arguments]
    progress = Progress()
    with open(python.parents[1] / "install.log", "w+", encoding="utf-8") as log:
        begin = len(installed(python))
        running = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while running.poll() is None:
                progress.say(step(Path(log.name), len(installed(python)) - begin, names, what))
                time.sleep(0.2)
        except KeyboardInterrupt:
            running.wait()
            raise
        log.seek(0)
        said = log.read()
    verb = "Could not install" if running.returncode else "Installed"
    progress.say(f"{verb} {what}", is_last=True)
    return (said or "pip failed") if running.returncode else ""


def step(log: Path, done: int, names: int, what: str) -> str:
    """How far pip is: it fetches everything first, and then installs everything."""
    if done > 0:
        return f"Installing {what}: {done} of {names}"
    said = log.read_text(encoding="utf-8", errors="replace")
    seen = len(re.findall(r"^(?:Collecting|Requirement already satisfied)", said, re.MULTILINE))
    return f"Fetching {what}: {min(seen, names)} of {names}"


def installed(python: Path) -> list[Path]:
    """The packages in the environment, as their metadata folders."""
    return list(python.parents[1].glob("lib/python*/site-packages/*.dist-info"))


def compile_bytecode(python: Path, venv: Path) -> None:
    """On all cores at once: pip would take one. Without it every engine start takes a minute more."""
    progress = Progress()
    # Packages carry files for other Python versions; those don't compile, and nothing needs them.
    command = [str(python), "-m", "compileall", "-qq", "-j", "0", str(venv / "lib")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None:
            progress.say("Compiling bytecode")
            time.sleep(0.2)
    progress.say("Compiled bytecode", is_last=True)


def sentence(said: str, venv: Path) -> str:
    """What pip's words come down to."""
    log = venv / "install.log"
    if "No space left on device" in said:
        return f"The disk is full: {venv} could not be completed; make room and run it again."
    if NO_NETWORK.search(said):
        return (
            "No network: no package index can be reached from here; connect this machine, or set "
            f"PIP_INDEX_URL to a mirror, and run it again (pip's words: {log})."
        )
    if WRONG_HASH in said:
        return (
            "A package is not the one that its lock file names, so nothing of it was installed: "
            f"look whence it comes (pip's words: {log})."
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")] or ["ERROR: ?"]
    return f"The packages can't be installed: {errors[-1][7:]} (pip's words: {log})."


if __name__ == "__main__":
    sys.exit(main())
