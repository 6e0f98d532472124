"""What `make run` prints works as printed."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tools import run_widgets

SETTINGS = {"JWT_SECRET", "DATABASE_PATH", "DATABASE_URL", "ALLOW_SELF_SIGNUP", "HOST", "PORT"}


@contextmanager
def served(tmp_path, **settings):
    """A `run_widgets` process on a free port, and everything that it printed when it was ready."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"PORT": "0", "DATABASE_PATH": str(tmp_path / "widgets.db"), "JWT_SECRET": "s" * 40, **settings}
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, run_widgets.__file__],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        yield process, read_until(process, '"First"')
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(15)
        process.stdout.close()


def read_until(process, text):
    lines = []
    while not lines or (lines[-1] and text not in lines[-1]):
        lines.append(process.stdout.readline())
    return "".join(lines)


def test_the_two_printed_lines_sign_up_and_create_a_widget(tmp_path):
    with served(tmp_path) as (_, printed):
        lines = re.search(r"^TOKEN=.*\ncurl .*$", printed, re.MULTILINE)
        assert lines, (tmp_path / "stderr").read_text()
        done = subprocess.run(["sh", "-c", lines[0]], capture_output=True, text=True, check=True)
    widget = json.loads(done.stdout)
    assert widget["name"] == "First"
    assert widget["created_by"]


def test_the_printed_addresses_answer_and_ctrl_c_ends_it_without_a_traceback(tmp_path):
    with served(tmp_path) as (process, printed):
        docs = re.search(r"http://\S+/docs", printed)
        assert docs, (tmp_path / "stderr").read_text()
        page = subprocess.run(["curl", "-sf", docs[0]], capture_output=True, text=True, check=True).stdout
    assert "swagger" in page.lower()
    assert process.returncode == 0
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def test_a_port_in_use_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        started = time.monotonic()
        with served(tmp_path, PORT=str(port)) as (process, printed):
            assert process.wait(10) == 1
    assert printed == ""
    assert time.monotonic() - started < 10
    message = (tmp_path / "stderr").read_text()
    assert message.count("\n") == 1
    assert f"127.0.0.1:{port}" in message
    assert "make run PORT=" in message


@pytest.mark.parametrize("port", ["http", "65536", "-1"])
def test_a_port_that_is_none_is_one_sentence(port, monkeypatch):
    monkeypatch.setenv("PORT", port)
    with pytest.raises(SystemExit, match="PORT must be a number"):
        run_widgets.main()


def test_the_secret_is_made_once_and_is_the_owners_alone(tmp_path):
    path = tmp_path / "data" / "jwt_secret"
    first = run_widgets.secret(path)
    assert run_widgets.secret(path) == first
    assert len(first) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_each_start_signs_up_somebody_new():
    assert run_widgets.greeting("127.0.0.1", 8000) != run_widgets.greeting("127.0.0.1", 8000)
