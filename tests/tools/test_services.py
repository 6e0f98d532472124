"""The servers really answer, and nothing of them outlives the command that they were started for."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tools import debian, services

GIVEN = {server.variable: f"given-{server.name}" for server in services.SERVERS.values()}
ONLY_REDIS = {variable: url for variable, url in GIVEN.items() if variable != "TEST_REDIS_URL"} | {"TEST_REDIS_URL": ""}
# Ends with its standard input, so that it does not outlive this test when its parent is killed.
REPORT = "import os, sys; print(os.environ['TEST_REDIS_URL'], flush=True); sys.stdin.read()"


def exchange(url, message):
    """The first bytes that the server behind a URL answers to a message."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall(message)
        return connection.recv(4096)


def running(*command):
    """A `tools.services` process that has started Redis, and the URL of that Redis."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.services", "--", *command],
        env={**os.environ, **ONLY_REDIS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return process, process.stdout.readline().strip()


def directories_of(url):
    """The temporary directories of servers that a URL belongs to, found by its port in the process list."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes()
            if f":{urlsplit(url).port}".encode() in arguments and b"redis" in arguments:
                found.append((process / "cwd").readlink())
        except OSError:
            continue  # ended while we looked
    return found


def is_gone(url, directories, seconds):
    """Whether the server stops answering and its directory disappears in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not services.exchange(urlsplit(url).port, b"PING\r\n") and not any(map(Path.exists, directories)):
            return True
        time.sleep(0.05)
    return False


def test_postgres_answers(postgres_url):
    ssl_request = struct.pack("!ii", 8, 80877103)
    assert exchange(postgres_url, ssl_request) in (b"N", b"S")


def test_mysql_answers_as_mariadb(mysql_url):
    handshake = exchange(mysql_url, b"")
    assert handshake[4] == 10  # protocol version
    assert b"MariaDB" in handshake


def test_redis_answers(redis_url):
    password = urlsplit(redis_url).password
    login = f"AUTH {password}\r\n" if password else ""
    assert exchange(redis_url, f"{login}PING\r\n".encode()).endswith(b"+PONG\r\n")


def test_addresses_that_are_given_are_used_and_nothing_is_started(monkeypatch):
    for variable, url in GIVEN.items():
        monkeypatch.setenv(variable, url)
    monkeypatch.setattr(services, "serving", None)
    with services.services() as urls:
        assert urls == GIVEN


def test_the_command_gets_the_addresses_and_its_exit_status_is_passed_on():
    script = "import os, sys; print(*(os.environ[name] for name in sys.argv[1:])); sys.exit(7)"
    done = subprocess.run(
        [sys.executable, "-m", "tools.services", "--", sys.executable, "-c", script, *GIVEN],
        env={**os.environ, **GIVEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert done.stdout.split() == list(GIVEN.values())
    assert done.stderr == ""


def test_a_command_that_does_not_exist_is_one_sentence():
    done = subprocess.run(
        [sys.executable, "-m", "tools.services", "--", "no-such-command"],
        env={**os.environ, **GIVEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no-such-command" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_servers_end_with_the_command_however_it_is_stopped(number):
    process, url = running(sys.executable, "-c", REPORT)
    directories = directories_of(url)
    assert directories
    assert exchange(url, b"PING\r\n").startswith(b"-NOAUTH")

    process.send_signal(number)
    status = process.wait(15)
    process.stdin.close()
    process.stdout.close()

    assert status != 0
    assert is_gone(url, directories, 10)


def test_servers_end_when_the_block_raises():
    def fail():
        with services.serving("redis") as servers:
            seen.update(servers)
            raise ZeroDivisionError

    seen = {}
    with pytest.raises(ZeroDivisionError):
        fail()
    assert not seen["redis"].directory.exists()
    assert services.exchange(seen["redis"].port, b"PING\r\n") == b""


def test_a_server_that_does_not_start_shows_the_end_of_its_log(monkeypatch):
    monkeypatch.setattr(services.Redis, "command", lambda self: ["/bin/sh", "-c", "echo the reason; exit 3"])
    with pytest.raises(debian.ServiceUnavailable) as caught, services.serving("redis"):
        pass
    assert "redis ended while it was starting" in str(caught.value)
    assert "the reason" in str(caught.value)


def test_a_server_that_hangs_is_given_up_and_stopped(monkeypatch):
    monkeypatch.setattr(services.Redis, "command", lambda self: ["/bin/sleep", "60"])
    server = services.Redis()
    try:
        with pytest.raises(debian.ServiceUnavailable, match="redis did not start within 0 seconds"):
            services.wait_for({"redis": server.starting()}, seconds=0.3)
        process = server.process
    finally:
        server.stop()
    assert process.returncode == -signal.SIGTERM
    assert not server.directory.exists()


def test_missing_programs_name_what_to_install_and_which_variables_to_set(monkeypatch):
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    wanted = {"redis-server": ["no-such-redis"], "base-files": ["sh"]}
    with pytest.raises(debian.ServiceUnavailable) as caught:
        debian.require_programs(wanted, ["TEST_REDIS_URL"])
    message = str(caught.value)
    assert "apt-get install redis-server)" in message
    assert "TEST_REDIS_URL" in message
    assert "\n" not in message


def test_a_package_that_lacks_its_program_is_reported(monkeypatch):
    monkeypatch.setattr(debian.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        debian.shutil, "which", lambda name, path=None: "/usr/bin/apt-get" if name == "apt-get" else None
    )
    installed = []
    monkeypatch.setattr(debian, "install", installed.extend)
    with pytest.raises(debian.ServiceUnavailable, match="redis-server is installed, but"):
        debian.require_programs({"redis-server": ["no-such-redis"]}, ["TEST_REDIS_URL"])
    assert installed == ["redis-server"]


def test_daemons_are_forbidden_only_while_packages_are_installed(tmp_path):
    policy = tmp_path / "policy-rc.d"
    with debian.daemons_forbidden(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()


def test_a_policy_that_is_there_already_is_left_alone(tmp_path):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("mine")
    with debian.daemons_forbidden(policy):
        pass
    assert policy.read_text() == "mine"
