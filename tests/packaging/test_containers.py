"""The Containerfile and the compose file, as far as they say something that can be looked up without an engine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app_kernel import ServiceConfig
from app_kernel.core.config import environment_name
from tests.faults.figures import SOAK
from tests.packaging import compose, containerfile, pythons
from tests.packaging.compose import FILLED
from tests.packaging.distributions import ROOT

OURS = ("web", "worker", "admin_worker")
SETTINGS = {environment_name(name, field) for name, field in ServiceConfig.model_fields.items()} | {"DATABASE_NAME"}

pytestmark = pytest.mark.xdist_group("packaging")


@pytest.fixture(scope="module")
def services() -> dict[str, compose.Service]:
    return compose.services(FILLED)


def test_the_compose_file_has_what_a_service_runs_on(services: dict[str, compose.Service]) -> None:
    assert services.keys() == {*OURS, "postgres", "redis"}
    for name in OURS:
        said = services[name].said
        assert said["depends_on"] == {
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
        }
        assert (said["read_only"], said["user"], said["cap_drop"]) == (True, "10001:10001", ["ALL"])
        assert said["build"]["dockerfile"] == str(containerfile.FILE.relative_to(ROOT))
        assert (compose.FOLDER / said["build"]["context"]).resolve() == ROOT
        assert f"SERVICE={said['build']['args']['SERVICE']}" in containerfile.FILE.read_text()
    # None but the web is reached from outside, and that by way of a proxy.
    assert [service.said.get("ports") for service in services.values()].count(None) == len(services) - 1
    assert services["web"].said["ports"][0].startswith("127.0.0.1:")


def test_what_is_kept_has_a_volume(services: dict[str, compose.Service]) -> None:
    volumes = yaml.safe_load((compose.FOLDER / "compose.yaml").read_text())["volumes"]
    used = [volume.partition(":")[0] for service in services.values() for volume in service.said.get("volumes", ())]
    assert sorted(used) == sorted(volumes) == ["postgres", "redis"]


def test_every_variable_of_the_service_is_a_setting(services: dict[str, compose.Service]) -> None:
    for name in OURS:
        assert services[name].environment.keys() <= SETTINGS
    assert services["web"].environment == services["worker"].environment == services["admin_worker"].environment


def test_every_secret_has_to_be_set_and_the_example_has_none() -> None:
    secrets = {"JWT_SECRET", "ENCRYPTION_KEY", "METRICS_TOKEN", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    text = (compose.FOLDER / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == secrets | {"PUBLIC_URL", "CORS_ORIGINS"}
    assert {name for name, _, _ in compose.VARIABLE.findall(text) if name} == compose.example().keys()
    assert {compose.example()[name] for name in secrets} == {""}
    for name in secrets:
        with pytest.raises(compose.Missing, match=name):
            compose.services({**FILLED, name: ""})
    assert "/.env" not in (ROOT / ".gitignore").read_text().split()
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_no_secret_is_an_argument(services: dict[str, compose.Service]) -> None:
    for service in services.values():
        words = [*service.said.get("command", ()), *(service.probe or ())]
        assert [word for word in words if "secret-of-the-compose-file" in word] == []


def test_whoever_stops_a_service_waits_for_longer_than_it_may_take(services: dict[str, compose.Service]) -> None:
    web, worker = services["web"], services["worker"]
    graceful = float(web.command[web.command.index("--timeout-graceful-shutdown") + 1])
    assert web.grace_seconds >= graceful + 10
    assert worker.grace_seconds >= float(worker.environment["WORKER_GRACE_SECONDS"]) + 15
    assert all(service.grace_seconds >= 30 for service in services.values())


def test_the_image_is_small_runs_as_nobody_and_holds_no_secret() -> None:
    build, image = containerfile.stages()
    assert build[0].rest.endswith("AS build")
    assert image[0].rest == build[0].rest.removesuffix(" AS build")
    version = re.search(r"python:(\d\.\d+)-slim$", image[0].rest)
    assert version is not None
    assert version[1] in pythons.versions()
    users = [step.rest for step in image if step.word == "USER"]
    assert users == ["10001:10001"]
    assert [step.word for step in image][-1] == "CMD"
    text = containerfile.FILE.read_text()
    assert not re.search(r"^ADD |SECRET|PASSWORD|TOKEN|:latest|http", text, re.MULTILINE)
    # What it runs by itself is what the compose file runs, but for the number of processes.
    assert containerfile.command() == [
        word for word in compose.services(FILLED)["web"].command if word not in ("--workers", "2")
    ]


def test_what_the_image_copies_is_there_and_is_sent_to_the_engine() -> None:
    sent = set(containerfile.ignored())
    sources = [
        source
        for step in containerfile.steps()
        if step.word == "COPY" and containerfile.copied(step)[0] is None
        for source in containerfile.copied(step)[1]
    ]
    assert len(sources) >= 6
    assert [source for source in sources if not (ROOT / source).exists() or source.split("/")[0] not in sent] == []
    assert [name for name in sent if not (ROOT / name).exists()] == []


@pytest.mark.soak
def test_the_steps_of_the_containerfile_make_a_service(tmp_path: Path) -> None:
    # The tools of an image have other names there; where a step runs, it runs with the interpreter of these tests.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    containerfile.follow(tmp_path, f"{tmp_path}/bin:/usr/bin:/bin", running=SOAK)
    place = tmp_path / "srv" / "service"
    assert {"main.py", "tasks.py"} <= {path.name for path in place.iterdir()}
    assert (tmp_path / "build" / "src" / "app_kernel" / "py.typed").exists()
    if SOAK:
        installed = tmp_path / "opt" / "service" / "bin"
        done = subprocess.run([installed / "app-kernel", "version"], check=False, capture_output=True, text=True)
        assert done.stdout.strip() == "0.1.0", done.stderr
        assert (place / "__pycache__").is_dir()
        settings = {"PATH": f"{installed}:/usr/bin:/bin", "JWT_SECRET": "s" * 40, "DATABASE_PATH": f"{tmp_path}/a.db"}
        ask = "import main; print(len(main.app.routes))"
        done = subprocess.run(
            [installed / "python", "-c", ask], check=False, cwd=place, env=settings, capture_output=True, text=True
        )
        assert int(done.stdout or 0) > 10, done.stderr
