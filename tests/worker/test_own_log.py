"""The worker's own log: what it prints is kept, in files of bounded size, whatever befalls them."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from app.core import worker_log
from app.core.settings import Settings, load_settings
from worker import own_log


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(var=tmp_path / "var")


@pytest.fixture
def stream(settings: Settings) -> Iterator[TextIO]:
    """What is printed here is kept, too."""
    stream = own_log.doubled(io.StringIO(), settings)
    yield stream
    stream.close()


def test_what_is_printed_is_kept_without_its_colours(settings: Settings, stream: TextIO) -> None:
    print("\x1b[31mred\x1b[0m", "words", file=stream)
    stream.write("one\ntwo\nthr")
    stream.write("ee\n")

    assert stream.getvalue() == "\x1b[31mred\x1b[0m words\none\ntwo\nthree\n"
    assert worker_log.tail(settings, 10).lines == ["red words", "one", "two", "three"]


def test_the_log_is_bounded_and_its_tail_goes_on_in_the_older_file(
    settings: Settings, stream: TextIO
) -> None:
    stream._file.maxBytes = 1000  # type: ignore[attr-defined]
    for number in range(500):
        print(f"line {number}", file=stream)

    folder = worker_log.path(settings).parent
    assert len(list(folder.iterdir())) == 1 + worker_log.KEPT_FILES
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 4 * 1000
    kept = worker_log.tail(settings, 200)
    assert kept.lines == [f"line {number}" for number in range(300, 500)]
    assert kept.total_lines == len(worker_log.tail(settings, 500).lines) < 500


def test_a_long_log_is_read_from_its_end(settings: Settings) -> None:
    path = worker_log.path(settings)
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"line {number} \N{NEXT LINE}é\n" for number in range(50_000)))

    found = worker_log.tail(settings, 7000)
    assert found.lines == [f"line {number} \N{NEXT LINE}é" for number in range(43_000, 50_000)]
    assert found.total_lines == 50_000


def test_a_log_that_was_set_aside_by_others_begins_anew(settings: Settings, stream: TextIO) -> None:
    print("before", file=stream)
    path = worker_log.path(settings)
    path.rename(path.with_name("elsewhere"))
    print("after", file=stream)

    assert path.read_text() == "after\n"


def test_a_file_in_the_folders_place_stops_nothing(settings: Settings) -> None:
    settings.var_path.mkdir()
    settings.logs_path.write_text("")

    assert own_log.doubled(sys.stderr, settings) is sys.stderr
