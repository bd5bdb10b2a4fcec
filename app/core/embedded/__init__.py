"""The embedded Postgres server: started from a package's programs, re-attached to, stopped.

One server per base folder, on a unix socket only. The server outlives the process that started it;
whoever starts it next gets the running one.
"""

from app.core.embedded.place import DATABASE, EmbeddedError
from app.core.embedded.programs import major
from app.core.embedded.server import (
    data_major,
    home,
    is_running,
    pid,
    program_folder,
    restart,
    start,
    stop,
    url,
)

__all__ = [
    "DATABASE",
    "EmbeddedError",
    "data_major",
    "home",
    "is_running",
    "major",
    "pid",
    "program_folder",
    "restart",
    "start",
    "stop",
    "url",
]
