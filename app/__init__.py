"""Stoker: batch inference and background jobs on one GPU server, through Postgres."""

__version__ = "0.1.0"
