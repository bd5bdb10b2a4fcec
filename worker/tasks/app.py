"""The Procrastinate app that our tasks are registered with; the worker gives it a connector."""

from __future__ import annotations

import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector())
