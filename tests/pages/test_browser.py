"""What `make browser` does where no browser starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_a_browser_that_does_not_start_is_not_taken_for_one(tmp_path: Path) -> None:
    signpost = tmp_path / "chromium"
    signpost.write_text("#!/bin/sh\necho Install it from the shop first.\nexit 1\n")
    signpost.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": str(tmp_path),
        "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "none"),
        "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:9",
    }
    ran = subprocess.run(
        [sys.executable, "-m", "tests.pages.browser"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("The browser tests need a Chromium that starts")
    assert ran.stderr.count("\n") == 1
