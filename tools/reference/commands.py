"""docs/reference/commands.md: every command of `app-kernel`."""

import textwrap
from typing import Any

import typer

from app_kernel.cli import app as cli_app
from tools.reference.page import page, table


def render_commands() -> str:
    """Every command of `app-kernel`."""
    parts: list[str] = []
    _describe("app-kernel", typer.main.get_command(cli_app), parts)
    return page("Commands", "`app-kernel` reads the settings as the service does.", "\n".join(parts))


def _describe(path: str, command: Any, parts: list[str]) -> None:
    children = getattr(command, "commands", {})
    for name in sorted(children):
        _describe(f"{path} {name}", children[name], parts)
    if children:
        return
    parts.append(f"## {path}\n\n{textwrap.dedent(command.help or '').strip()}\n")
    rows = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        names = ", ".join(f"`{option}`" for option in parameter.opts) if parameter.opts else f"`{parameter.name}`"
        rows.append((names, " ".join((getattr(parameter, "help", "") or "").split())))
    if rows:
        parts.append(table(("argument", "meaning"), rows) + "\n")
