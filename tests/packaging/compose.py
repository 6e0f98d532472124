"""The compose file as Compose reads it: variables filled in, and what each service is started with."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.packaging.distributions import ROOT

FOLDER = ROOT / "deploy"
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([?-])([^}]*))?\}")


class Missing(Exception):
    """A variable that has to be set is not."""


@dataclass(frozen=True)
class Service:
    """One service of the file."""

    name: str
    said: Mapping[str, Any]

    @property
    def command(self) -> list[str]:
        """The words of its command."""
        command = self.said["command"]
        return shlex.split(command) if isinstance(command, str) else list(command)

    @property
    def environment(self) -> dict[str, str]:
        """Its variables."""
        return dict(self.said.get("environment", {}))

    @property
    def grace_seconds(self) -> float:
        """How long it is waited for after SIGTERM."""
        return _seconds(self.said["stop_grace_period"])

    @property
    def probe(self) -> list[str] | None:
        """The command that tells whether it is well; None without one."""
        kind, *words = self.said.get("healthcheck", {}).get("test", ["NONE"])
        return {"CMD": words, "CMD-SHELL": ["sh", "-c", *words], "NONE": None}[kind]


def services(variables: Mapping[str, str]) -> dict[str, Service]:
    """The services by name; raises Missing for a variable that has to be set and is empty or not there."""
    parsed = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return {name: Service(name, said) for name, said in filled_in(parsed["services"], variables).items()}


def filled_in(value: Any, variables: Mapping[str, str]) -> Any:
    """What was parsed, with what its variables stand for in each text."""
    if isinstance(value, dict):
        return {name: filled_in(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [filled_in(part, variables) for part in value]
    return VARIABLE.sub(lambda found: _meaning(found, variables), value) if isinstance(value, str) else value


def _meaning(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    if name is None:
        return "$"
    if not variables.get(name) and kind == "?":
        raise Missing(name)
    return variables.get(name) or (rest if kind == "-" else "")


def example() -> dict[str, str]:
    """The variables that the example of the environment file names, with the values it has for them."""
    lines = (FOLDER / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


FILLED = {name: value or f"secret-of-the-compose-file-{name.lower()}" for name, value in example().items()} | {
    "ALLOW_SELF_SIGNUP": "true",
    "CORS_ORIGINS": "https://letters.example.com",
    "MAIL_FROM": "",
    "PUBLIC_URL": "https://letters.example.com",
    "SMTP_URL": "",
    "TRUSTED_PROXIES": "",
}
"""What a user would fill in."""


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]
