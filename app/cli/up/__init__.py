"""`flask up`: everything that one machine needs, started, watched and stopped together."""

from app.cli.up.command import up_command

__all__ = ["up_command"]
