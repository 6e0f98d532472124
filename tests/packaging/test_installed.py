"""The wheel in environments of its own: does what it is for, on each Python and with each extra.

In every run it is put beside the packages of this environment. The long run resolves and installs what it needs from
the package index, as its users do: once for each Python and extra, and once with the oldest versions that are allowed.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.faults.figures import figure
from tests.packaging import pythons
from tests.packaging.test_extras import CASES

SMOKE = Path(__file__).with_name("smoke.py")
UV = Path(sys.executable).with_name("uv")
CHOSEN = figure(
    short=[(pythons.OWN, "all", "those beside")],
    long=[
        *((version, name, "highest") for version in pythons.versions() for name in CASES),
        (pythons.versions()[0], "all", "lowest-direct"),
    ],
)

pytestmark = pytest.mark.xdist_group("packaging")


@pytest.fixture
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def environment(folder: Path, python: str) -> Path:
    """The interpreter of a new environment without any package."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    return folder / "bin" / "python"


def install(python: Path, *arguments: str) -> None:
    """Installs into the environment of that interpreter."""
    command = [UV, "pip", "install", "--quiet", "--python", python, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def run(command: list[str | Path], folder: Path, servers: dict[str, str]) -> list[str]:
    """What a program of an installation prints, in an empty directory that is not the repository's."""
    place = folder / "place"
    place.mkdir(exist_ok=True)
    variables = {"PATH": os.environ["PATH"], **servers}
    done = subprocess.run(command, check=False, cwd=place, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout.splitlines()


def try_all(python: Path, extras: list[str], folder: Path, servers: dict[str, str]) -> list[str]:
    """What the program for it did with that installation; its log lines left out."""
    where = run([python, "-c", "import app_kernel; print(app_kernel.__file__)"], folder, servers)
    assert where[0].startswith(str(folder)), "that is not the installation"
    printed = run([python, SMOKE, *extras], folder, servers)
    return [line for line in printed if line.startswith("try_")]


def put_beside(python: Path, wheel: Path) -> None:
    """Installs the wheel alone; what it needs is found in the environment that these tests run in."""
    install(python, "--offline", "--no-deps", str(wheel))
    (site,) = python.parents[1].glob("lib/python3.*/site-packages")
    (site / "beside.pth").write_text(sysconfig.get_path("purelib"))


@pytest.mark.soak
@pytest.mark.parametrize(("version", "name", "versions"), CHOSEN)
def test_an_installed_wheel_does_what_its_extras_are_for(
    version: str, name: str, versions: str, wheel: Path, tmp_path: Path, servers: dict[str, str]
) -> None:
    found = pythons.find_python(version)
    if found is None:
        pytest.skip(f"NOT TRIED on Python {version}: put python{version} on PATH, or name it in TEST_PYTHONS")
    python = environment(tmp_path / "venv", found)
    if versions == "those beside":
        put_beside(python, wheel)
    else:
        wanted = "" if name == "base" else f"[{name}]"
        install(python, "--resolution", versions, f"app-kernel{wanted} @ {wheel.as_uri()}")
    assert run([python.with_name("app-kernel"), "version"], tmp_path, servers) == [wheel.name.split("-")[1]]
    done = try_all(python, CASES[name], tmp_path, servers)
    expected = ["try_public_modules", "try_a_service", *(f"try_{extra}" for extra in CASES[name])]
    assert done[: len(expected)] == expected
    assert all(line.startswith("try_without ") for line in done[len(expected) :])
