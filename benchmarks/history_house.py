"""A house over a long history, written once and kept for the next benchmark."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks import history_rows
from benchmarks.house import House, open_house


@contextlib.contextmanager
def open_history(jobs: int, keep: Path | None, **settings: object) -> Iterator[House]:
    """A house with its web server, over a history of so many jobs; it stays in `keep`."""
    # A pool, memory and statement time-out as a server has them.
    with open_house("", keep=keep and keep / str(jobs), **settings) as house:
        written = house.settings.var_path / "written"
        url = house.settings.database_url
        with house.session() as session:
            if not written.exists():
                history_rows.write(url, session, jobs)
                written.touch()
            else:
                with psycopg.connect(url, autocommit=True) as connection:
                    history_rows.roll_up(connection, session)
        house.start_web()
        yield house
