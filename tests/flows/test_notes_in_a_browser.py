"""examples/notes in a real browser: cookies, a note, a key, and a forgotten password by the service's own page."""

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import LiveServer, live_server
from tests.oauth.chromium import Chromium, running_chromium
from tools.debian import find_browser

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "notes"
SETTINGS = {"JWT_SECRET": "a-secret-for-the-example-of-32-bytes", "ALLOW_SELF_SIGNUP": "true", "DEBUG": "true"}
EMAIL, PASSWORD, NEW_PASSWORD = "ada@example.com", "plum tree over water", "river stone under moon"
SHOWN = "document.body.innerText"


def ask(server: LiveServer, path: str, body: object = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def fill(browser: Chromium, **fields: str) -> None:
    for id, value in fields.items():
        browser.evaluate(f"document.getElementById('{id}').value = {json.dumps(value)}")


def link_in_the_mail(server: LiveServer) -> str:
    """The link of the newest mail, once its job has run."""
    deadline = time.monotonic() + 30
    while not (mails := ask(server, "/dev/mail.json")["mails"]):
        assert time.monotonic() < deadline, "the mail did not come"
        time.sleep(0.05)
    return str(mails[0]["links"][0])


def test_a_person_signs_up_keeps_a_note_makes_a_key_and_replaces_the_password(tmp_path: Path) -> None:
    program = find_browser()
    if program is None:
        pytest.fail("This test needs Chromium: apt-get install chromium, or set TEST_CHROMIUM to a Chrome of yours.")
    for name in ("main.py", "page.html"):
        (tmp_path / name).write_text((EXAMPLE / name).read_text())
    with (
        live_server(tmp_path, DATABASE_PATH="app.db", **SETTINGS) as server,
        running_chromium(program, tmp_path / "profile") as browser,
    ):
        browser.open(f"{server.url}/")
        browser.wait_for("document.getElementById('stranger')?.hidden === false")
        fill(browser, email=EMAIL, password=PASSWORD)
        browser.evaluate("document.querySelector('[name=register]').click()")
        browser.wait_for("document.getElementById('who').textContent === 'ada@example.com'")
        assert "HttpOnly" not in str(browser.evaluate("document.cookie"))
        assert str(browser.evaluate("document.cookie")).startswith("csrf=")  # the others are out of a script's reach

        fill(browser, text="buy milk")
        browser.evaluate("document.querySelector('#write button').click()")
        browser.wait_for("document.getElementById('notes').innerText.includes('buy milk')")
        browser.evaluate("document.getElementById('key').click()")
        line = str(browser.wait_for("document.getElementById('made').innerText"))
        key = line.partition("Bearer ")[2].strip('" ')
        assert [note["text"] for note in ask(server, "/notes", Authorization=f"Bearer {key}")] == ["buy milk"]

        ask(server, "/auth/forgot-password", {"email": EMAIL})
        browser.open(link_in_the_mail(server))
        browser.wait_for("document.getElementById('password') !== null")
        assert browser.evaluate("location.hash") == ""  # the token does not stay in the address or the history
        fill(browser, password=NEW_PASSWORD)
        browser.evaluate("document.getElementById('send').click()")
        browser.wait_for(f"{SHOWN}.includes('Your password is set')")

        browser.open(f"{server.url}/")
        browser.wait_for("document.getElementById('stranger')?.hidden === false")  # every session has ended
        assert ask(server, "/auth/login", {"email": EMAIL, "password": NEW_PASSWORD})["user"]["email"] == EMAIL
