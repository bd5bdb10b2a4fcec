"""Stoker's own tasks, one module per noun."""
