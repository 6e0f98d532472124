"""What is built of this tree, and the servers that an installation is tried with."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conformance.aside import Aside
from tests.conformance.mysql_place import empty_database
from tests.conformance.postgres_place import empty_schema
from tests.packaging.distributions import ROOT
from tools.services import serving


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "sdist", "wheel")
    return folder


def build(tree: Path, folder: Path, *targets: str) -> None:
    """Builds with the pinned hatchling that is installed here, so nothing is fetched."""
    chosen = [option for target in targets for option in ("--target", target)]
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *chosen]
    done = subprocess.run(command, check=False, cwd=tree, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, str]]:
    """An empty schema of PostgreSQL, an empty database of MySQL, and a Redis, by the name of the variable."""
    aside, stack = Aside("packaging"), AsyncExitStack()
    postgres = aside.run(stack.enter_async_context(empty_schema()))
    mysql = aside.run(stack.enter_async_context(empty_database()))
    # Of its own, because a service takes what waits in the streams of the one that it finds.
    with serving("redis") as started:
        yield {"TEST_POSTGRES_URL": postgres, "TEST_MYSQL_URL": mysql, "TEST_REDIS_URL": started["redis"].url}
    aside.run(stack.aclose())
    aside.close()
