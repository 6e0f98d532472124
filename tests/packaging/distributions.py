"""Which distributions belong to an installation with some extras, as the project file and what is installed say."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
NAME = "app-kernel"


def project() -> dict[str, object]:
    """The table `project` of the project file."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def extras() -> dict[str, list[str]]:
    """What users may ask for in brackets, and what that brings."""
    return dict(project()["optional-dependencies"])  # type: ignore[call-overload]


def distributions_of(*wanted: str) -> set[str]:
    """The names of the package itself and of all that it needs with these extras, on this machine."""
    seen: set[tuple[str, str]] = set()
    waiting = [(NAME, ""), *((NAME, extra) for extra in wanted)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in _requirements(name):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonical(requirement.name)
                waiting += [(needed, ""), *((needed, each) for each in requirement.extras)]
    return {name for name, _ in seen}


def canonical(name: str) -> str:
    """The one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements(name: str) -> Iterator[Requirement]:
    if name != NAME:
        try:
            yield from map(Requirement, requires(name) or ())
        except PackageNotFoundError:
            return
        return
    yield from map(Requirement, project()["dependencies"])  # type: ignore[arg-type]
    for extra, brought in extras().items():
        for text in brought:
            requirement = Requirement(text)
            yield Requirement(f"{text}{' and' if requirement.marker else ';'} extra == '{extra}'")
