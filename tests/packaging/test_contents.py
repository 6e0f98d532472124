"""What is in the wheel and in the sdist: all that is needed, and nothing that happened to lie about."""

import hashlib
import re
import tarfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from tests.packaging.conftest import build
from tests.packaging.distributions import ROOT, extras, project

PACKAGE = ROOT / "src" / "app_kernel"
STRAY = re.compile(
    r"(^|/)(__pycache__|data|results|node_modules|build|dist|\.git|\.venv|\.hypothesis|\.env|\.\w+_cache)(/|$)"
    r"|\.(py[cod]|db|db-wal|db-shm|log|orig|rej|swp)$|~$"
)
"""Paths of what work in the tree leaves behind."""
TOGETHER = (".ci", "benchmarks", "deploy", "docs", "examples", "requirements", "src", "tests", "tools")
BESIDE = (
    ".dockerignore", ".importlinter", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "SECURITY.md", "pyproject.toml",
)  # fmt: skip
BEFORE_ALL = {".gitignore", "PKG-INFO"}
"""What the build adds to an sdist: its metadata, and what it ignored."""

pytestmark = pytest.mark.xdist_group("packaging")


def files_of(folder: Path) -> set[str]:
    """The files below a folder of the tree, but for those that work leaves behind."""
    found = (path.relative_to(ROOT).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in found if not STRAY.search(path)}


@pytest.fixture(scope="session")
def wheel(built: Path) -> dict[str, bytes]:
    """The files of the wheel."""
    (path,) = built.glob("*.whl")
    assert path.name == f"app_kernel-{project()['version']}-py3-none-any.whl"
    return contents(path)


@pytest.fixture(scope="session")
def sdist(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sdist unpacks to."""
    (path,) = built.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    assert unpacked.name == f"app_kernel-{project()['version']}"
    return unpacked


def contents(wheel: Path) -> dict[str, bytes]:
    """The files in a wheel."""
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: dict[str, bytes]) -> Message:
    """What the wheel says of itself."""
    (text,) = (data for name, data in wheel.items() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(text)


def test_the_wheel_has_the_package_and_nothing_else(wheel: dict[str, bytes]) -> None:
    expected = {path.removeprefix("src/") for path in files_of(PACKAGE)}
    assert {name for name in wheel if ".dist-info/" not in name} == expected
    assert {PurePosixPath(name).name for name in wheel if ".dist-info/" in name} == {
        "LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt",
    }  # fmt: skip


def test_the_wheel_has_what_the_package_reads_beside_its_code(wheel: dict[str, bytes]) -> None:
    assert wheel["app_kernel/py.typed"] == b""
    assert {"app_kernel/auth/page.html", "app_kernel/auth/common_passwords.txt"} <= wheel.keys()
    templates = {path.name for path in (PACKAGE / "mail" / "templates").iterdir() if path.is_file()}
    assert {PurePosixPath(name).name for name in wheel if name.startswith("app_kernel/mail/templates/")} == templates
    assert {"verify_email.txt", "verify_email.html", "verify_email.subject.txt"} <= templates


def test_nothing_that_work_left_behind_is_published(wheel: dict[str, bytes], sdist: Path) -> None:
    published = [*wheel, *(path.relative_to(sdist).as_posix() for path in sdist.rglob("*"))]
    assert [name for name in published if STRAY.search(name)] == []
    assert [
        path for path in ("a/data/app.db", "x/__pycache__/a.pyc", ".venv/bin", "deploy/.env") if not STRAY.search(path)
    ] == []
    assert [
        path for path in ("deploy/.env.example", "tests/test_database.py", "docs/metadata.md") if STRAY.search(path)
    ] == []


def test_the_wheel_says_whose_it_is_and_what_it_needs(wheel: dict[str, bytes]) -> None:
    said = metadata(wheel)
    assert said["Name"] == "app-kernel"
    assert said["Version"] == project()["version"]
    assert said["License-Expression"] == "MIT"
    assert said["License-File"] == "LICENSE"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload() == (ROOT / "README.md").read_text()
    assert set(said.get_all("Provides-Extra", [])) == extras().keys()
    (entry_points,) = (data for name, data in wheel.items() if name.endswith("entry_points.txt"))
    assert entry_points.decode().split() == ["[console_scripts]", "app-kernel", "=", "app_kernel.cli:main"]


def test_every_requirement_has_a_lower_bound(wheel: dict[str, bytes]) -> None:
    needed = [text for text in metadata(wheel).get_all("Requires-Dist", []) if not text.startswith("app-kernel[")]
    assert len(needed) > 20
    assert [text for text in needed if ">=" not in text.partition(";")[0]] == []


def test_the_sdist_has_the_whole_project(sdist: Path) -> None:
    expected = set(BESIDE).union(*(files_of(ROOT / folder) for folder in TOGETHER))
    found = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    assert found - BEFORE_ALL == expected
    assert {"tests/conftest.py", "tools/services.py", "requirements/dev.txt", ".ci/run"} <= expected


def test_the_sdist_makes_the_same_wheel(wheel: dict[str, bytes], sdist: Path, tmp_path: Path) -> None:
    build(sdist, tmp_path, "wheel")
    (again,) = tmp_path.glob("*.whl")
    assert digests(contents(again)) == digests(wheel)


def digests(files: dict[str, bytes]) -> dict[str, str]:
    """A short form of what is in them."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
