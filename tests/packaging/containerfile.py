"""The Containerfile, read and followed without an engine: its steps as shell commands, below a directory."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.packaging.distributions import ROOT

FILE = ROOT / "deploy" / "Containerfile"


class Step(NamedTuple):
    """One instruction."""

    word: str
    rest: str


def steps() -> list[Step]:
    """The instructions in their order, with the default values of its arguments filled in."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    for name, value in arguments.items():
        text = text.replace(f"${{{name}}}", value)
    return [Step(*line.split(" ", 1)) for line in text.splitlines() if line.strip()]


def stages() -> list[list[Step]]:
    """The same by image: each begins with its FROM."""
    found: list[list[Step]] = []
    for step in steps():
        if step.word == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def copied(step: Step) -> tuple[str | None, list[str], str]:
    """The stage that a COPY takes from (None for the tree), the sources, and the target."""
    words = step.rest.split()
    stage = words.pop(0).partition("=")[2] if words[0].startswith("--from=") else None
    return stage, words[:-1], words[-1]


def command() -> list[str]:
    """What the image runs."""
    (found,) = (step.rest for step in stages()[-1] if step.word == "CMD")
    return list(json.loads(found))


def follow(root: Path, path: str, *, running: bool) -> None:
    """Does what each step says, where `root` stands for the root of both images; RUN only where it is asked for."""
    place = root
    for step in steps():
        if step.word == "WORKDIR":
            place = _inside(root, place, step.rest)
            place.mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY":
            _copy(root, place, step)
        elif step.word == "RUN" and running:
            script = re.sub(r"(?<!\S)/(opt|srv|build)/", rf"{root}/\1/", step.rest)
            (root / "opt").mkdir(exist_ok=True)
            done = subprocess.run(
                ["sh", "-c", script], check=False, cwd=place, env={"PATH": path}, capture_output=True, text=True,
                timeout=600,
            )  # fmt: skip
            assert done.returncode == 0, f"{step.rest}\n{done.stderr[-3000:]}"


def _inside(root: Path, place: Path, target: str) -> Path:
    return root / target.lstrip("/") if target.startswith("/") else place / target


def _copy(root: Path, place: Path, step: Step) -> None:
    stage, sources, target = copied(step)
    if stage is not None:
        # Both images are one directory here, and what is copied from one to the other keeps its place.
        assert sources == [target]
        return
    for source in map(ROOT.joinpath, sources):
        there = _inside(root, place, target)
        if source.is_dir():
            shutil.copytree(
                source, there, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "data", ".env")
            )
        else:
            there.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, there)


def ignored() -> Iterator[str]:
    """What of the tree is sent to the engine: the names that the ignore file takes back in."""
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            yield line[1:]
