"""Servers go into memory where there is room for them, and onto the disk otherwise."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import server_folder
from tools.services import Redis


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with 8 GB of free memory, and room for files there as in the folder of temporary ones."""
    monkeypatch.delenv(server_folder.VARIABLE, raising=False)
    monkeypatch.delenv("APP_KERNEL_SOAK", raising=False)
    (tmp_path / "memory").write_text("MemTotal:  9999999 kB\nMemAvailable:    8000000 kB\n")
    monkeypatch.setattr(server_folder, "MEMORY", tmp_path / "memory")
    monkeypatch.setattr(server_folder, "CONTAINER", tmp_path / "memory.max")
    monkeypatch.setattr(server_folder, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(server_folder.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**11))
    return tmp_path


def test_memory_is_taken_where_there_is_room(system: Path) -> None:
    assert server_folder.choose() == str(system)
    (system / "memory.max").write_text("max\n")
    assert server_folder.choose() == str(system)


def test_the_disk_is_taken_where_memory_is_short(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "memory.max").write_text("8000000000")
    (system / "memory.current").write_text("3000000000")
    assert server_folder.room() == 5_000_000_000
    assert server_folder.choose() is None
    (system / "memory.max").unlink()
    (system / "memory").write_text("MemAvailable:    5000000 kB\n")
    assert server_folder.choose() is None
    (system / "memory").write_text("of another system\n")
    assert server_folder.choose() is None
    (system / "memory").unlink()
    assert server_folder.choose() is None
    monkeypatch.setattr(server_folder, "SHARED_MEMORY", system / "none")
    assert server_folder.choose() is None


def test_long_runs_are_measured_with_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_KERNEL_SOAK", "1")
    assert server_folder.choose() is None


def test_a_folder_that_is_given_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(server_folder.VARIABLE, str(tmp_path))
    assert server_folder.choose() == str(tmp_path)
    server = Redis()
    try:
        assert server.directory.parent == tmp_path
    finally:
        server.stop()
    assert not server.directory.exists()
