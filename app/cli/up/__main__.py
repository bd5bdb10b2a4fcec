"""`python -m app.cli.up`: `flask up` without loading the web application."""

from app.cli.up import up_command

up_command(prog_name="flask up")
