"""What a watching command shows: steps with their time, the children's log lines, one progress bar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

STYLES = {"web": "cyan", "worker": "green", "housekeeper": "magenta", "postgres": "blue"}
NAME_WIDTH = max(len(name) for name in STYLES)
# Without a terminal there is no line to rewrite: a running step says so this often.
LINE_SECONDS = 5.0


class Step:
    """Something that takes a while; `update` says how far it is, `fail` that it was in vain."""

    def __init__(self, screen: Screen, text: str, done_text: str, total: int | None) -> None:
        self.outcome = f"✓ {done_text or text}"
        self._screen = screen
        self._text = text
        self._note = ""
        self._begun_at = self._said_at = time.monotonic()
        self._task = screen.progress.add_task(text, total=total, note="")

    def update(
        self,
        *,
        text: str | None = None,
        done: int | None = None,
        total: int | None = None,
        note: str = "",
    ) -> None:
        self._text = text or self._text
        self._note = note
        self._screen.progress.update(
            self._task, description=self._text, completed=done, total=total, note=note
        )
        self.repeat()

    def fail(self, text: str) -> None:
        """Say this when it ends."""
        self.outcome = f"✕ {text}"

    def repeat(self) -> None:
        """Where no line can be rewritten, say now and then how far it is."""
        if not self._screen.is_live and time.monotonic() - self._said_at >= LINE_SECONDS:
            self._said_at = time.monotonic()
            self._screen.line(f"{self._text} {self._note}".rstrip() + f" ({self.seconds:.0f} s)")

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begun_at

    def end(self) -> None:
        self._screen.progress.remove_task(self._task)


class Screen:
    """One console for everything that is printed, so that lines and bars don't mix."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.is_live = self.console.is_terminal
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )

        self._steps: list[Step] = []

    def line(self, text: str = "", style: str = "") -> None:
        """A line of our own."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def log(self, name: str, text: str) -> None:
        """A child's log line, after its name."""
        prefix = Text(f"{name:>{NAME_WIDTH}} │ ", style=STYLES.get(name, "dim"))
        self.console.print(prefix + Text(text), soft_wrap=True)

    def tick(self) -> None:
        """To be called every second or so."""
        for step in self._steps:
            step.repeat()

    @contextmanager
    def step(self, text: str, done_text: str = "", total: int | None = None) -> Iterator[Step]:
        """Show that something runs, and how long it took when it is done."""
        if not self.is_live:
            self.line(f"{text} …")
        step = Step(self, text, done_text, total)
        self._steps.append(step)
        if self.is_live:
            self.progress.start()
        try:
            yield step
        finally:
            self._steps.remove(step)
            step.end()
            if self.is_live and not self._steps:
                self.progress.stop()
        self.line(f"{step.outcome} ({step.seconds:.1f} s)", style="bold")
