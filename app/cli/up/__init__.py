"""`flask up`: everything one machine needs, started, watched and stopped together."""
