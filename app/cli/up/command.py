"""`flask up`, which is `python -m app.cli.up` too: options, and faults as one sentence."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from app.cli.screen import Screen
from app.cli.up import preflight
from app.cli.up.client import ApiError
from app.cli.up.preflight import UpError
from app.cli.up.start import Start, check
from app.cli.up.supervisor import ChildFailed
from app.core.embedded import EmbeddedError
from app.core.settings import Settings, SettingsError, load_settings

PR_SET_PDEATHSIG = 1
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@click.command("up")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the web server.")
@click.option("--var", type=click.Path(path_type=Path), help="Data folder.")
@click.option("--once", is_flag=True, help="End after one batch.")
@click.option("--no-embedded", is_flag=True, help="Start no Postgres: DATABASE_URL names one.")
@click.option(
    "--models-file",
    type=click.Path(path_type=Path),
    help="Registry of the models to serve, instead of the small demonstration models.",
)
@click.option("--with-parent", is_flag=True, hidden=True)
def up_command(
    port: int | None,
    var: Path | None,
    once: bool,
    no_embedded: bool,
    models_file: Path | None,
    with_parent: bool,
) -> None:
    """Run Stoker: Postgres, web, worker and housekeeper, watched until Ctrl-C.

    Exit codes: 0 ended as asked; 1 a part failed for good, or not all requests of the batch of
    --once were answered; 2 it could not start.
    """
    if with_parent:
        # A killed make passes nothing on.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    given = {"port": port, "var": var, "models_file": models_file}
    try:
        settings = load_settings(**{name: value for name, value in given.items() if value})
        if no_embedded and not settings.database_url:
            raise UpError("--no-embedded needs DATABASE_URL: set it to the URL of a Postgres.")
        sys.exit(_run(settings, is_once=once))
    except UpError as fault:
        _fail(str(fault), fault.exit_code)
    except (SettingsError, EmbeddedError) as fault:
        _fail(str(fault), 2)
    except ApiError as fault:
        _fail(f"The web server refused what the start asked of it: {fault}", 1)
    except ChildFailed as fault:
        _fail(str(fault), 1)
    except OSError as fault:
        if fault.errno not in DISK_FULL:
            raise
        _fail(f"The disk is full ({fault.filename}): make room and start again.", 2)


def _run(settings: Settings, *, is_once: bool) -> int:
    async def run() -> int:
        return await Start(settings, Screen(), is_once=is_once).run()

    os.umask(0o077)  # What people send and get is theirs; the children inherit it.
    with preflight.data_folder(settings.var_path):
        check(settings)
        return asyncio.run(run())


def _fail(sentence: str, exit_code: int) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(exit_code)
