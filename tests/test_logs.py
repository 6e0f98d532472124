"""Logs: one JSON line an event, whatever is in it, and no secret in any of them."""

import io
import json
import logging
import sys
import time
from typing import Any

import pytest

from app_kernel import get_logger
from app_kernel.core.context import Context, in_context
from app_kernel.core.errors import ResponseAborted
from app_kernel.logs import configure_logging, encode_line, lost_lines, mask, write_line
from tests.small_service import log_lines

NASTY = 'a\r\nb\x1b[31m\x00\x7f\x85\x9b\u2028\u2029\u202e"}{\\'


@pytest.fixture(autouse=True)
def known_secret() -> None:
    configure_logging("INFO", ["known-secret-of-this-process"])


def logged(capture: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (line,) = log_lines(capture)
    return line


def test_an_event_is_one_line_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with in_context(Context(request_id="r-1", actor_id="u-1")):
        get_logger("mine").warning("widget_made", id="w-1", size=3, ratio=0.5, tags=("a", "b"), none=None, ok=True)
    line = logged(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "widget_made",
        "logger": "mine",
        "request_id": "r-1",
        "user_id": "u-1",
        "id": "w-1",
        "size": 3,
        "ratio": 0.5,
        "tags": ["a", "b"],
        "none": None,
        "ok": True,
    }


def test_outside_of_a_request_there_is_no_id(capsys: pytest.CaptureFixture[str]) -> None:
    get_logger("mine").info("started")
    assert "request_id" not in logged(capsys)


def test_the_standard_library_writes_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("some.library").warning("connected to %s", "db", extra={"attempt": 2, "password": "hunter2"})
    line = logged(capsys)
    assert (line["event"], line["logger"], line["level"]) == ("connected to db", "some.library", "warning")
    assert (line["attempt"], line["password"]) == (2, "[redacted]")


def test_a_log_call_that_is_wrong_fails_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    # Through our handler alone: the one that pytest adds raises.
    (ours,) = [each for each in logging.getLogger().handlers if each.__module__.endswith("logs")]
    ours.handle(logging.makeLogRecord({"msg": "%d", "args": ("not a number",)}))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "not a number" in captured.err


def test_the_servers_own_lines_are_taken_over_and_its_access_line_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[1mStarted"})
    logging.getLogger("uvicorn.access").info("GET / 200")
    assert logged(capsys).keys() == {"timestamp", "level", "event", "logger"}


def test_what_ended_an_answer_midway_is_not_logged_a_second_time(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=ResponseAborted())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_events_below_the_level_are_dropped(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level)
    for name in ("debug", "info", "warning", "error"):
        getattr(get_logger("mine"), name)(name)
        getattr(logging.getLogger("theirs"), name)(name)
    names = ["DEBUG", "INFO", "WARNING", "ERROR"]
    expected = [name.lower() for name in names[names.index(level) :] for _ in range(2)]
    assert [line["level"] for line in log_lines(capsys)] == expected


@pytest.mark.acceptance("OP4")
def test_nothing_in_an_event_can_break_its_line_or_forge_another(capsys: pytest.CaptureFixture[str]) -> None:
    get_logger("mine").info(NASTY, **{"field": NASTY, "key" + NASTY: 1})
    out = capsys.readouterr().out
    assert out.endswith("\n")
    assert len(out.splitlines()) == 1
    assert out[:-1].isprintable()
    line = json.loads(out)
    assert line["event"] == line["field"] == NASTY
    assert line["level"] == "info"


@pytest.mark.parametrize(
    "value", ["\ud800", 2**80, float("nan"), b"\xff", object(), {1: {2: (3, {4})}}, ValueError("x")]
)
def test_any_value_can_be_logged(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    get_logger("mine").info("event", value=value)
    assert "value" in logged(capsys)


def test_a_structure_that_holds_itself_ends_somewhere(capsys: pytest.CaptureFixture[str]) -> None:
    loop: list[Any] = []
    loop.append(loop)
    get_logger("mine").info("event", loop=loop)
    assert "[too deep]" in str(logged(capsys))


def test_an_exception_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("token=hunter2")
    except ValueError:
        get_logger("mine").exception("failed")
    line = logged(capsys)
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert "hunter2" not in line["exception"]


SECRET_KEYS = [
    "password", "Password", "new_password", "passwd", "secret", "JWT_SECRET", "token", "access_token", "refreshToken",
    "Authorization", "Cookie", "Set-Cookie", "api_key", "apiKey", "x-api-key", "dsn", "DATABASE_DSN", "credentials",
    "private_key",
]  # fmt: skip


@pytest.mark.acceptance("OP4")
@pytest.mark.parametrize("key", SECRET_KEYS)
def test_values_under_telling_names_are_redacted_however_deep(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    get_logger("mine").info("event", **{key: "hunter2"}, body={"list": [{key: ["hunter2"]}]}, headers={key: b"hunter2"})
    assert "hunter2" not in str(logged(capsys))


@pytest.mark.acceptance("OP4")
@pytest.mark.parametrize(
    "text",
    [
        "postgres://me:hunter2@db/app",
        "could not reach redis://:hunter2@localhost:6379/0",
        "mysql+asyncmy://me:hun/ter2@db is down",
        "Authorization: Bearer hunter2hunter2",
        "basic aHVudGVyMjpodW50ZXIy.hunter2",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",
        "key sk_live_hunter2",
        "password=hunter2&x=1",
        "refresh_token='hunter2'",
        '{"password": "hunter2", "x": 1}',
        "known-secret-of-this-process",
    ],
)
def test_texts_lose_what_looks_like_a_credential(text: str) -> None:
    masked = mask(text)
    assert "[redacted]" in masked
    for secret in ("hunter2", "ter2", "known-secret"):
        assert secret not in masked


@pytest.mark.parametrize(
    "text", ["the token has expired", "https://a.example/b?c=d", "password: at least 8", "a@b.example"]
)
def test_ordinary_texts_stay(text: str) -> None:
    assert mask(text) == text


def test_a_line_that_cannot_be_written_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.RawIOBase):
        broken = True

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if self.broken:
                raise BrokenPipeError
            return len(data)

    before, stream = lost_lines(), Full()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(stream), write_through=True))
    write_line(b"line\n")
    assert lost_lines() == before + 1
    stream.broken = False  # what is left in the buffer goes somewhere when the stream is collected
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    write_line(b"text\n")
    assert sys.stdout.getvalue() == "text\n"


def test_a_line_ends_with_its_only_line_end() -> None:
    assert encode_line({"event": "a\nb"}) == b'{"event":"a\\nb"}\n'


@pytest.mark.parametrize(
    "piece", ["a", "x://a:", "eyJ-", "passw", "bearer ", "sk_a_", "a://", "token=\"'", "secret' ", "_", "x://a@"]
)
def test_a_long_text_of_a_client_does_not_hold_the_service_up(piece: str) -> None:
    began = time.process_time()
    masked = mask(piece * (1_000_000 // len(piece)))
    # Ten times what the slowest takes; a pattern that tries every pair of characters would take minutes.
    assert time.process_time() - began < 1
    assert masked.endswith("more characters]")
