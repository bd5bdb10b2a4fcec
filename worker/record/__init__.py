"""What a worker of any Procrastinate app adds to Stoker's record of its jobs.

    app.run_worker(worker_middleware=[stoker.middleware])

From then on each attempt's result, error, traceback, log lines, progress and use of the machine are
kept. A task says how far it is by `progress`, and what else it knows through `current()`.
"""

from .attempt import Attempt, current, progress
from .recorder import Recorder, middleware

worker_middleware = middleware

__all__ = ["Attempt", "Recorder", "current", "middleware", "progress", "worker_middleware"]
