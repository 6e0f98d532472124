"""A Python that sees some of the installed distributions only, as if the others were not there.

    python narrow.py FOLDER < CASES

Each case is a process of its own in a folder of its own, forked from one that has imported what all of them need, for
that takes most of the time. CASES is JSON: for each name the extras to try and the distributions that are there; that
of the name `base` is what all of them have. What
it leaves in FOLDER/told.json is for each name what was done, or how it failed.
"""

import asyncio
import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Collection, Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

PRELOADED = ("cryptography.fernet", "fastapi", "httpx2", "prometheus_client", "structlog", "typer", "uvicorn")
"""None of these looks for a package of an extra."""
INSTALLED = tuple(importlib.metadata.distributions())


class Narrowed:
    """A finder of modules and of distributions that does not find those which are hidden."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder
        self._hidden: Collection[str] = ()
        self._shown: Collection[str] = ()

    def narrow(self, hidden: Collection[str], shown: Collection[str]) -> None:
        """Finds none of the hidden files, and only the distributions that are shown."""
        self._hidden, self._shown = hidden, shown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """What the finder itself finds, unless a hidden distribution brought it."""
        spec: ModuleSpec | None = self._finder.find_spec(name, path, target)
        return None if spec is not None and spec.origin in self._hidden else spec

    def find_distributions(self, *arguments: Any) -> Iterator[importlib.metadata.Distribution]:
        """The distributions that are there."""
        find = getattr(self._finder, "find_distributions", lambda *_: ())
        return (each for each in find(*arguments) if _name(each) in self._shown)


def narrow(shown: Collection[str]) -> None:
    """From now on this process sees the standard library and these distributions."""
    hidden = {
        os.path.normpath(each.locate_file(file))
        for each in INSTALLED
        if _name(each) not in shown
        for file in each.files or ()
    }
    for finder in sys.meta_path:
        finder.narrow(hidden, shown)  # type: ignore[attr-defined]


def _name(distribution: importlib.metadata.Distribution) -> str:
    return distribution.name.replace("_", "-").replace(".", "-").lower()


def try_case(extras: list[str], shown: list[str]) -> str:
    """What was done with these extras, or the traceback of what failed."""
    try:
        narrow(shown)
        # Imported where it counts: after the others are hidden.
        smoke = import_module("smoke")
        return "\n".join(asyncio.run(smoke.try_installation(extras, base=not extras)))
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        return traceback.format_exc()


def run_case(folder: Path, extras: list[str], shown: list[str]) -> str:
    """The same in a process of its own."""
    folder.mkdir()
    answer = folder / "answer"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        answer.write_text(try_case(extras, shown))
        os._exit(0)
    os.waitpid(child, 0)
    return answer.read_text() if answer.exists() else "the process died"


def main() -> None:
    """Runs the cases one after another."""
    cases = json.load(sys.stdin)
    sys.meta_path[:] = [Narrowed(finder) for finder in sys.meta_path]
    narrow(cases["base"]["shown"])
    for name in PRELOADED:
        import_module(name)
    told = {name: run_case(Path(sys.argv[1]) / name, case["extras"], case["shown"]) for name, case in cases.items()}
    Path(sys.argv[1], "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
