"""gunicorn's settings for the process that only streams: `gunicorn -c deploy/gunicorn_streams.py wsgi:app`.

The same application as the web process, on a port of its own: nginx sends it what stays open, so
that a thousand viewers leave the web process's threads alone. Each stream holds a thread here.
"""

import importlib.util
import os
import resource
from pathlib import Path

_MORE_CONNECTIONS = 200  # that are kept alive, or about to be refused

_spec = importlib.util.spec_from_file_location(
    "stoker_gunicorn", Path(__file__).with_name("gunicorn.py")
)
assert _spec is not None
assert _spec.loader is not None
_web = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_web)
globals().update({name: value for name, value in vars(_web).items() if not name.startswith("_")})

_settings = _web._settings
# What the application reads when it is made, after this file.
os.environ["STOKER_WEB_THREADS"] = os.environ["STOKER_STREAM_LIMIT"] = str(_settings.stream_threads)

bind = [_web.address(_settings.stream_port)]
workers = 1
threads = _settings.stream_threads
worker_connections = _settings.stream_threads + _MORE_CONNECTIONS
proc_name = "stoker-streams"

# A stream is a descriptor too.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = 2 * worker_connections
if _soft != resource.RLIM_INFINITY and _soft < _wanted:
    _most = _wanted if _hard == resource.RLIM_INFINITY else min(_wanted, _hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _hard))
