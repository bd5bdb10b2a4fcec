"""Makes the pictures of all pages: `python docs/screenshots.py`, or of those that are named after it.

A Postgres of its own, a web server, a few days of made-up batches and jobs, and a real Chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright  # noqa: E402
from sqlalchemy import Engine  # noqa: E402
from sqlalchemy.orm import Session  # noqa: E402

from app.core import embedded, schema, sessions, users  # noqa: E402
from app.core.db import make_engine  # noqa: E402
from app.core.settings import Settings, load_settings  # noqa: E402
from tests.pages import house  # noqa: E402

PORT = 4089
IMAGES = ROOT / "docs/images"
# Wide in both themes; narrow, as on a phone, in the light one.
SHAPES = {"light": (1280, 800, "light"), "dark": (1280, 800, "dark"), "narrow": (390, 844, "light")}
# Of each picture; those in the README are sharp on dense screens too.
_DENSE = ("timeline",)


def main() -> None:
    """All pictures, then everything is taken down again."""
    base = Path(tempfile.mkdtemp(prefix="stoker-pictures-"))
    base.chmod(0o711)  # the embedded server may run as another user
    try:
        settings = load_settings(var=base / "var", port=PORT, database_url=embedded.start(base))
        schema.upgrade(settings.database_url)
        engine = make_engine(settings, "pictures")
        cookie, numbers = fill(engine, settings)
        with serve(settings):
            take_pictures(engine, cookie, numbers)
        engine.dispose()
    finally:
        home = embedded.home(base)
        embedded.stop(base, "immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(base, ignore_errors=True)


def fill(engine: Engine, settings: Settings) -> tuple[str, dict[str, str]]:
    """Make it all; the token of a signed-in browser, and what stands in the pages' addresses."""
    with Session(engine) as session:
        numbers = house.fill(session, settings)
        link = sessions.create_sign_in_link(session, users.ensure_admin(session), 10)
        token = sessions.consume_sign_in_link(session, link, session_days=1)
        session.commit()
    return token, numbers


@contextmanager
def serve(settings: Settings) -> Iterator[None]:
    """The web server, for as long as the block lasts."""
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "STOKER_VAR": str(settings.var),
        "STOKER_PORT": str(PORT),
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.py", "wsgi:app"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://localhost:{PORT}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def take_pictures(engine: Engine, token: str, numbers: dict[str, str]) -> None:
    """Each page in each shape."""
    wanted = sys.argv[1:] or house.PAGES
    if wanted is house.PAGES:
        shutil.rmtree(IMAGES, ignore_errors=True)
    IMAGES.mkdir(parents=True, exist_ok=True)
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    url = f"http://localhost:{PORT}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for shape, (width, height, scheme) in SHAPES.items():
            for is_dense in (False, True):
                page = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                    device_scale_factor=1.5 if is_dense else 1,
                    reduced_motion="reduce",
                )
                page.context.add_cookies(
                    [{"name": f"stoker_session_{PORT}", "value": token, "url": url}]
                )
                for name, path in house.PAGES.items():
                    if name in wanted and (name in _DENSE) == is_dense:
                        with Session(engine) as session:
                            house.beat(session)
                        show(page, url + path.format(**numbers))
                        page.screenshot(path=IMAGES / f"{name}-{shape}.png")
                page.close()
        browser.close()


def show(page: Page, address: str) -> None:
    """Open it, and wait until nothing more comes."""
    answer = page.goto(address)
    if answer is None or not answer.ok:
        raise SystemExit(f"{address} gives {answer and answer.status}")
    page.wait_for_function("document.fonts.status === 'loaded'")
    if page.locator("#live").count():
        page.wait_for_selector("#live[data-status=live]")
    page.wait_for_timeout(700)
    page.wait_for_function("!document.querySelector('.htmx-request')")  # what is loading is dimmed


if __name__ == "__main__":
    main()
