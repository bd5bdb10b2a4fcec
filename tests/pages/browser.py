"""The Chromium of the browser tests: found, or fetched by `make browser`, and tried once.

It is the one on PATH if that starts, else Playwright's own; `python -m tests.pages.browser` gets
one by apt-get where it may, else by Playwright.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class NoBrowser(Exception):
    """None starts; the message is the last one's reason."""


def launch(playwright: Playwright) -> Browser:
    """The first that starts. Raises NoBrowser."""
    reason = "none was found"
    for path in _found():
        try:
            return playwright.chromium.launch(executable_path=path, args=_FLAGS)
        except Error as fault:
            lines = [line.strip(" ║╔╗╚╝═") for line in fault.message.splitlines()]
            reason = f"{path or 'Playwright'}: {next(filter(None, lines), 'it does not start')}"
    raise NoBrowser(reason)


def _found() -> Iterator[str | None]:
    """Paths to try, None for Playwright's own. A name on PATH may be a mere signpost to a shop."""
    yield from filter(None, map(shutil.which, _NAMES))
    yield None


def _fault() -> str:
    """Why there is no browser that shows a page; nothing when there is one."""
    with sync_playwright() as playwright:
        try:
            browser = launch(playwright)
            browser.new_page().goto("about:blank")
            browser.close()
        except (NoBrowser, Error) as fault:
            return str(fault).splitlines()[0]
    return ""


def _by_apt() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    install = ["apt-get", "install", "-y", "-q", "chromium"]
    if _run(install) != 0:
        _run(["apt-get", "update", "-q"])
        _run(install)


def _by_playwright() -> None:
    _run([sys.executable, "-m", "playwright", "install", "chromium"])


def _run(command: list[str]) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode


def main() -> int:
    """0 when there is one that starts, 2 with a sentence when none can be had."""
    fault = _fault()
    if fault:
        print("Getting a Chromium for the browser tests", flush=True)
    for get in (_by_apt, _by_playwright):
        if not fault:
            return 0
        get()
        fault = _fault()
    if fault:
        print(
            "The browser tests need a Chromium that starts, and neither apt-get nor Playwright "
            f"could get one ({fault}): install it (on Debian: apt install chromium) or put one on "
            "PATH.",
            file=sys.stderr,
        )
    return 2 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
