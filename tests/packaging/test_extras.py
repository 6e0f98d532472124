"""Each extra alone: the package runs with what the extra brings and without everything else that is installed here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging import distributions, smoke

HERE = Path(__file__).parent
PEERS = {"bench"}
"""Not for users: what `make bench` measures."""
CASES = {
    "base": [],
    **{extra: [extra] for extra in smoke.EXTRAS},
    "all": ["mysql", "oauth", "otel", "postgres", "redis"],
}

pytestmark = pytest.mark.xdist_group("packaging")


@pytest.fixture(scope="session")
def told(servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each case did, or how it failed."""
    folder = tmp_path_factory.mktemp("extras")
    cases = {
        name: {"extras": chosen, "shown": sorted(distributions.distributions_of(*chosen))}
        for name, chosen in CASES.items()
    }
    done = subprocess.run(
        [sys.executable, HERE / "narrow.py", folder],
        check=False,
        input=json.dumps(cases),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(distributions.ROOT / "src"), **servers},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads((folder / "told.json").read_text()))


def test_every_extra_is_tried() -> None:
    assert smoke.EXTRAS.keys() | {"all"} | PEERS == distributions.extras().keys()
    (everything,) = distributions.extras()["all"]
    assert everything == f"app-kernel[{','.join(CASES['all'])}]"


def test_what_an_extra_brings_does_not_come_with_another() -> None:
    base = distributions.distributions_of()
    assert {"fastapi", "saq", "pydantic-core", "apsw"} <= base
    assert not base & {"asyncpg", "asyncmy", "redis", "hiredis", "authlib", "opentelemetry-sdk", "bcrypt", "pytest"}
    assert "asyncpg" in distributions.distributions_of("postgres")
    assert "requests" not in distributions.distributions_of("postgres", "redis", "mysql")
    assert distributions.distributions_of("all") >= {"asyncpg", "asyncmy", "redis", "authlib", "opentelemetry-sdk"}


@pytest.mark.parametrize("name", CASES)
def test_an_installation_does_what_its_extras_are_for(name: str, told: dict[str, str]) -> None:
    done = told[name].splitlines()
    expected = [
        "try_public_modules",
        *([] if CASES[name] else ["try_a_service"]),
        *(f"try_{extra}" for extra in CASES[name]),
    ]
    assert done[: len(expected)] == expected, told[name]
    missing = smoke.SETTINGS.keys() - set(CASES[name])
    assert sorted(done[len(expected) :]) == sorted(f"try_without {extra}" for extra in missing), told[name]
