"""Makes the pictures of all pages: `python docs/screenshots.py`.

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

from playwright.sync_api import sync_playwright  # noqa: E402
from sqlalchemy.orm import Session  # noqa: E402

from app.core import embedded, schema, sessions, users  # noqa: E402
from app.core.db import make_engine  # noqa: E402
from app.core.settings import Settings, load_settings  # noqa: E402
from tests.pages import day, seed  # noqa: E402

PORT = 4089
IMAGES = ROOT / "docs/images"
PAGES = {
    "overview": "/",
    "timeline": "/timeline?range=6h&pair=export&with=run_batch",
    "jobs": "/jobs?status=failed",
    "history": "/history",
    "queue": "/queue",
    "failures": "/failures",
    "stats": "/stats",
    "platform": "/platform/jobs/",
    "tasks": "/tasks",
}


def main() -> None:
    """All pictures, then everything is taken down again."""
    base = Path(tempfile.mkdtemp(prefix="stoker-pictures-"))
    base.chmod(0o711)  # the embedded server may run as another user
    try:
        settings = load_settings(var=base / "var", port=PORT, database_url=embedded.start(base))
        schema.upgrade(settings.database_url)
        cookie = fill(settings)
        with serve(settings):
            take_pictures(cookie)
    finally:
        home = embedded.home(base)
        embedded.stop(base, "immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(base, ignore_errors=True)


def fill(settings: Settings) -> str:
    """Make the batches; the token of a signed-in browser."""
    engine = make_engine(settings, "pictures")
    with Session(engine) as session:
        seed.fill(session)
        day.fill(session)
        link = sessions.create_sign_in_link(session, users.ensure_admin(session), 10)
        token = sessions.consume_sign_in_link(session, link, session_days=1)
        session.commit()
    engine.dispose()
    return token


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


def take_pictures(token: str) -> None:
    """Each page in both themes, sharp on dense screens too."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    url = f"http://localhost:{PORT}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": 1280, "height": 800},
                color_scheme=scheme,
                device_scale_factor=1.5,
                reduced_motion="reduce",
            )
            page.context.add_cookies(
                [{"name": f"stoker_session_{PORT}", "value": token, "url": url}]
            )
            for name, path in PAGES.items():
                page.goto(url + path)
                page.wait_for_selector("#live[data-status=live]")
                page.wait_for_timeout(1500)
                page.screenshot(path=IMAGES / f"{name}-{scheme}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
