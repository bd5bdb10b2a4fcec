"""Batches through Stoker against `vllm run_batch`, the same files, flags and minutes.

    python -m benchmarks.batch_throughput [--rounds 3] [--model FOLDER] [mixed prefixes commands]

Each round runs both, in turns. Ours is timed from the batch's create to its completed, theirs by
its progress bar (the model is loaded in both cases); for `commands`, five files sent at once against
five commands in a row, all of both is timed. Answers have forced lengths, so both make the same
tokens.
The last lines are `ratio <what> <figure>`: ours over theirs, the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from openai.types import Batch

from app.core.engines import ModelSpec, load_registry
from benchmarks.house import POLL_SECONDS, House, open_house
from worker.engine import commands

# Small enough that 64 prefixes of 512 tokens do not fit: 320 blocks hold 10,240 tokens.
BLOCKS = 320
PREFIXES = 64
FILES = 5
_COMMON = ["--dtype=float16", "--max-model-len=1024", "--max-num-seqs=64", "--block-size=32"]
_KV = "--kv-cache-memory-bytes=1G"
_PREFIX_FLAGS = [*_COMMON, _KV, f"--num-gpu-blocks-override={BLOCKS}"]
FLAGS = {"mixed": [*_COMMON, _KV], "prefixes": _PREFIX_FLAGS, "commands": [*_COMMON, _KV]}
# Only a server knows these.
_SERVER_FLAGS = ("--enable-prompt-tokens-details", "--disable-uvicorn-access-log")
_BAR = re.compile(r"(\d+)/(\d+) \[")

WORDS = [
    "harbor",
    "engine",
    "lantern",
    "copper",
    "river",
    "winter",
    "market",
    "signal",
    "garden",
    "timber",
    "orbit",
    "meadow",
    "cotton",
    "anchor",
    "bridge",
    "candle",
    "desert",
    "falcon",
    "glacier",
    "hammer",
    "island",
    "jungle",
    "kettle",
    "ladder",
    "magnet",
    "needle",
    "ocean",
    "pepper",
    "quarry",
    "ribbon",
    "saddle",
    "tunnel",
    "urban",
    "valley",
    "window",
    "yellow",
    "zephyr",
]


@dataclass
class Timing:
    """Seconds, and the tokens that were made and read in them."""

    seconds: float
    tokens: int

    @property
    def speed(self) -> float:
        return self.tokens / self.seconds


def text(random_: random.Random, words: int) -> str:
    return " ".join(random_.choice(WORDS) for _ in range(words))


def line(number: int, model: str, prompt: str, tokens: int, system: str = "") -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    body = {
        "model": model,
        "messages": messages,
        "max_tokens": tokens,
        "min_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
    }
    url = "/v1/chat/completions"
    return {"custom_id": f"r{number}", "method": "POST", "url": url, "body": body}


def mixed(seed: int, count: int, model: str) -> list[dict[str, Any]]:
    """Chats: prompts of 5 to 60 words, answers of 8 to 64 tokens, half with one system prompt."""
    random_ = random.Random(seed)
    system = "You are a helpful assistant who answers in short, plain sentences."
    return [
        line(
            n,
            model,
            text(random_, random_.choice((5, 10, 20, 40, 60))),
            random_.choice((8, 16, 24, 32, 48, 64)),
            system if n % 2 else "",
        )
        for n in range(count)
    ]


def prefixes(seed: int, count: int, model: str) -> list[dict[str, Any]]:
    """Documents of about 512 tokens, each asked about several times, in shuffled order."""
    random_ = random.Random(seed)
    documents = [text(random_, 400) for _ in range(PREFIXES)]
    lines = [
        line(n, model, f"{documents[n % PREFIXES]}\n\nQuestion {n}: {text(random_, 8)}?", 8)
        for n in range(count)
    ]
    random_.shuffle(lines)
    return lines


def write(folder: Path, name: str, lines: list[dict[str, Any]]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def ours(house: House, *paths: Path) -> Timing:
    """From the first create to the last completed, as the client sees it."""
    client = house.client()
    uploads = []
    for path in paths:
        with path.open("rb") as file:
            uploads.append(client.files.create(file=file, purpose="batch"))
    begun = time.monotonic()
    made = [
        client.batches.create(
            input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        for upload in uploads
    ]
    tokens = sum(wait(client, batch) for batch in made)
    return Timing(time.monotonic() - begun, tokens)


def wait(client: openai.OpenAI, batch: Batch) -> int:
    """Wait until a batch is completed; returns its tokens."""
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(POLL_SECONDS)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed", batch
    assert batch.request_counts is not None
    assert batch.request_counts.failed == 0, batch.request_counts
    assert batch.usage is not None
    return batch.usage.total_tokens


def theirs(path: Path, spec: ModelSpec, folder: Path) -> tuple[Timing, float]:
    """The batch part of `run_batch`, and the whole command's seconds."""
    flags = [flag for flag in commands.default_flags(spec) if flag not in _SERVER_FLAGS]
    out = folder / "theirs.jsonl"
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    begun = time.monotonic()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "vllm.entrypoints.openai.run_batch",
            "-i", str(path), "-o", str(out),
            "--model", spec.source, "--served-model-name", spec.name, *flags, *spec.flags,
        ],
        env=commands.environment(spec, scratch, folder / "cache"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    first = last = 0.0
    tail = b""
    assert process.stderr is not None
    while piece := process.stderr.read1(65536):  # type: ignore[attr-defined]
        tail = (tail + piece)[-4000:]
        for done, total in _BAR.findall(piece.decode("utf-8", "replace")):
            if "Running batch" in tail.decode("utf-8", "replace"):
                first = first or time.monotonic()
                if done == total:
                    last = last or time.monotonic()
    process.wait()
    whole = time.monotonic() - begun
    assert process.returncode == 0, tail.decode("utf-8", "replace")
    assert first, tail.decode("utf-8", "replace")
    assert last, tail.decode("utf-8", "replace")
    return Timing(last - first, tokens_of(out)), whole


def tokens_of(path: Path) -> int:
    answers = [json.loads(each) for each in path.read_text().splitlines()]
    return sum(each["response"]["body"]["usage"]["total_tokens"] for each in answers)


def registry(model: str) -> str:
    """One entry for each set of flags, so that each is what both sides run with."""
    return "\n".join(
        f'[models."{name}"]\npath = {json.dumps(model)}\nflags = {json.dumps(FLAGS[name])}\n'
        for name in ("mixed", "prefixes")
    )


def compare_speed(
    house: House, what: str, spec: ModelSpec, folder: Path, count: int, rounds: int
) -> float:
    make = mixed if what == "mixed" else prefixes
    ours(house, write(folder, "warm", mixed(0, 4, spec.name)))  # loads the model
    ratios = []
    for round_ in range(1, rounds + 1):
        path = write(folder, what, make(round_, count, spec.name))
        sides = {}
        for side in ("ours", "theirs") if round_ % 2 else ("theirs", "ours"):
            sides[side] = ours(house, path) if side == "ours" else theirs(path, spec, folder)[0]
        ratio = sides["ours"].speed / sides["theirs"].speed
        ratios.append(ratio)
        for side, timing in sides.items():
            print(
                f"{what} round {round_} {side}: {timing.seconds:.1f} s, {timing.tokens} tokens, "
                f"{timing.speed:.0f} tokens/s",
                flush=True,
            )
        print(f"{what} round {round_} ratio {ratio:.2f}", flush=True)
    return statistics.median(ratios)


def compare_commands(house: House, spec: ModelSpec, folder: Path, count: int, rounds: int) -> float:
    ours(house, write(folder, "warm", mixed(0, 4, spec.name)))
    ratios = []
    for round_ in range(1, rounds + 1):
        paths = [
            write(folder, f"file{n}", mixed(100 * round_ + n, count, spec.name))
            for n in range(FILES)
        ]
        our_seconds = ours(house, *paths).seconds
        begun = time.monotonic()
        for path in paths:
            theirs(path, spec, folder)
        their_seconds = time.monotonic() - begun
        ratios.append(their_seconds / our_seconds)
        print(
            f"commands round {round_}: {FILES} files of {count} requests: ours {our_seconds:.1f} s,"
            f" theirs {their_seconds:.1f} s, ratio {ratios[-1]:.2f}",
            flush=True,
        )
    return statistics.median(ratios)


def main() -> None:
    """Run the comparisons that are named (all by default)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=["mixed", "prefixes", "commands"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--file-requests", type=int, default=32)
    parser.add_argument("--model", type=Path, default=Path("var/models/smollm2-135m-instruct"))
    arguments = parser.parse_args()
    model = str(arguments.model.resolve())
    ratios: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        open_house(registry(model), preload=False) as house,
    ):
        folder = Path(scratch)
        house.start_web()
        house.start("worker", "-m", "worker")
        models = load_registry(house.settings.models_path).models
        for what in arguments.what:
            if what == "commands":
                spec = models["mixed"]
                ratios[what] = compare_commands(
                    house, spec, folder, arguments.file_requests, arguments.rounds
                )
            else:
                ratios[what] = compare_speed(
                    house, what, models[what], folder, arguments.requests, arguments.rounds
                )
    for what, ratio in ratios.items():
        print(f"ratio {what} {ratio:.2f}")


if __name__ == "__main__":
    main()
