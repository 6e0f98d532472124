"""Forks processes that have everything imported already, so that a test may kill many of them: see `tests.zygote`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.children import ROOT
from tests.zygote import Forked as Fork
from tests.zygote import start

__all__ = ["Fork", "Nursery"]


class Nursery:
    """What is forked from it is dead at the end of the block."""

    def __init__(self) -> None:
        self._forks: list[Fork] = []

    def fork(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Fork:
        """Runs a module with these arguments as a program, and these variables beside those that there are."""
        with log.open("a") as out:
            fork = start(module, arguments, cwd=ROOT, env={**os.environ, **environment}, stdout=out.fileno())
        self._forks.append(fork)
        return fork

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fork in self._forks:
            fork.kill()
            fork.wait(30)
