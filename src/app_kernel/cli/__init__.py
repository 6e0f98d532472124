"""The `app-kernel` command: accounts, jobs, the outbox, the database: from a terminal, under the service's settings.

It ends with 0, with 1 when what was asked for is refused, and with 2 for a wrong command or wrong settings; errors are
one line on standard error, and a password is printed only when it was made here.
"""

import logging
import sys
from importlib.metadata import version as installed_version

import typer

from app_kernel.cli import transfer as _transfer  # noqa: F401 - its commands belong to `db`
from app_kernel.cli.accounts import users
from app_kernel.cli.audit import audit
from app_kernel.cli.databases import db
from app_kernel.cli.jobs import jobs
from app_kernel.cli.outbox import outbox
from app_kernel.cli.stats import show_stats

# No pretty tracebacks: they show local variables, and those hold passwords.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(users, name="users")
app.add_typer(outbox, name="outbox")
app.add_typer(jobs, name="jobs")
app.add_typer(audit, name="audit")
app.add_typer(db, name="db")
app.command("stats")(show_stats)

__all__ = ["app", "main"]


@app.callback()
def describe() -> None:
    """Looks after a service built with app_kernel."""


@app.command("version")
def show_version() -> None:
    """Prints the version of app_kernel."""
    typer.echo(installed_version("app-kernel"))


def main() -> None:
    """The console script `app-kernel`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("app-kernel: %(message)s"))
    handler.addFilter(_explain)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    app()


def _explain(record: logging.LogRecord) -> bool:
    """Puts the reason that a structured event carries into its one line."""
    reason = record.__dict__.get("reason")
    if reason:
        record.msg, record.args = f"{record.msg}: {reason}", ()
    return True
