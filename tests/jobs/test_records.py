"""Jobs as queues keep them: what is written is read back, and what somebody wrote by hand harms nobody."""

import traceback
from dataclasses import replace
from typing import Any

import orjson
import pytest

from app_kernel.core.jobs import LONGEST_TIMEOUT
from app_kernel.jobs.records import LONGEST_READ, Body, Followup, JobRow, NewJob, as_number, instant, raised

ROW = JobRow(
    id="j", queue="default", task="t", status="queued", rank=-3, due=60.0, body=Body(payload={"a": 1}).text(),
    unique_key=None, user_id=None, workspace_id=None, attempts=0, max_attempts=3, enqueued_at=0.0,
)  # fmt: skip

BODIES = [
    Body(),
    Body(payload=[None, {"a": "\U0001f600"}], metadata={"b": [1]}, timeout=1.5, has_own_attempts=True),
    Body(timeout=7, request_id="r", traceparent="00-1-2-01", cron="* * * * * UTC"),
    Body(on_success=Followup("next"), on_failure=Followup("mourn", {"x": [1]})),
]


@pytest.mark.parametrize("body", BODIES)
def test_a_body_is_read_back_as_it_was_written(body: Body) -> None:
    assert Body.read(body.text()) == body
    assert Body.read(body.text().encode()) == body


def test_a_body_is_as_short_as_it_can_be() -> None:
    assert Body().text() == "{}"
    assert Body(payload=1, on_success=Followup("next")).text() == '{"payload":1,"on_success":["next",null]}'


def test_what_a_later_version_adds_does_not_make_a_body_unreadable() -> None:
    assert Body.read('{"payload":1,"colour":"red"}') == Body(payload=1)


PICKLED = b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."

MALFORMED = [
    "", " ", "no json", "null", "5", '"text"', "[]", '["payload"]', "{", '{"payload":}', '{"payload":NaN}',
    '{"payload":"\\ud800"}', "{'payload':1}", b"\xff\xfe", PICKLED, b"cos\nsystem\n(S'id'\ntR.",
    '{"metadata":5}', '{"metadata":[]}', '{"metadata":null}', '{"metadata":"a"}',
    '{"timeout":"5"}', '{"timeout":true}', '{"timeout":0}', '{"timeout":-1}', '{"timeout":1e308}', '{"timeout":[]}',
    '{"request_id":5}', '{"request_id":["r"]}', '{"request_id":"\\u0000"}', '{"traceparent":{}}', '{"cron":7}',
    '{"on_success":"next"}', '{"on_success":5}', '{"on_success":[]}', '{"on_success":["a"]}', '{"on_success":[1,2]}',
    '{"on_success":["a",1,2]}', '{"on_failure":["a\\u0000",null]}', '{"on_failure":[["a"],null]}',
    "[" * 100_000, '{"payload":"' + "x" * LONGEST_READ + '"}',
]  # fmt: skip


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: repr(text[:30]))
def test_what_is_no_body_is_read_as_none(text: Any) -> None:
    assert Body.read(text) is None
    view = replace(ROW, body=text).view(whole=True)
    assert (view.payload, view.metadata) == (None, {})


def test_the_longest_timeout_is_read() -> None:
    assert Body.read(f'{{"timeout":{LONGEST_TIMEOUT}}}') == Body(timeout=LONGEST_TIMEOUT)


@pytest.mark.acceptance("JB9")
def test_a_job_that_was_spoilt_by_hand_is_still_shown() -> None:
    spoilt = replace(
        ROW, result="{", due=1e300, enqueued_at=-5.0, started_at=1e20, finished_at=-1e300, body="x", status="dead"
    )
    view = spoilt.view(whole=True)
    assert (view.result, view.payload) == (None, None)
    assert view.run_at == view.started_at == "9999-12-31T23:59:59.000000Z"
    assert view.enqueued_at == view.finished_at == instant(0) == "1970-01-01T00:00:00.000000Z"
    assert orjson.dumps(view)


@pytest.mark.parametrize(
    ("given", "number"),
    [("5", 5.0), (7, 7.0), ("-1.5", -1.5), (b"3", 3.0), (None, 0.0), ("", 0.0), ("abc", 0.0), (b"\xff", 0.0), ([], 0.0),
     ("nan", 0.0), ("inf", 0.0), ("-inf", 0.0), ("1e300", 0.0), (2**53, 2.0**53), (float("nan"), 0.0)],
)  # fmt: skip
def test_a_number_that_is_none_counts_as_nothing(given: Any, number: float) -> None:
    assert as_number(given) == number


def test_a_new_job_waits_when_it_has_a_time() -> None:
    new = NewJob(id="j", queue="q", task="t", body="{}", max_attempts=1)
    assert not new.waits
    assert replace(new, delay=0.1).waits
    assert replace(new, due=0.0).waits


# What was raised, told from a traceback without what its text quotes.


class Odd(Exception):
    """An error of a test's own."""


def text_of(exc: BaseException) -> str:
    """The traceback of an error that was raised here."""
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001 - any of them
        return "".join(traceback.format_exception(caught))


def chained() -> BaseException:
    """One that was raised while another one was handled."""
    try:
        try:
            raise KeyError("password=1")
        except KeyError:
            raise ValueError("bad\npassword=2") from None
    except ValueError as exc:
        error = Odd("outer")
        error.__cause__ = exc
        return error


def noted() -> BaseException:
    """One with a note."""
    error = ValueError("bad")
    error.add_note("password=1")
    return error


class_of_a_function = type(
    "made.<locals>.Inner", (Exception,), {"__module__": "m", "__qualname__": "made.<locals>.Inner"}
)


@pytest.mark.parametrize(
    ("exc", "line"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError("bad\npassword=1\nKeyError: 2"), "ValueError: bad"),
        (ValueError("\npassword"), "ValueError:"),
        (ValueError(), "ValueError"),
        (Odd("x: y"), f"{Odd.__module__}.Odd: x: y"),
        (chained(), f"{Odd.__module__}.Odd: outer"),
        (noted(), "ValueError: bad"),
        (ExceptionGroup("many", [ValueError("password=1"), Odd("two")]), "ExceptionGroup: many (2 sub-exceptions)"),
        (class_of_a_function("bad\npassword"), "m.made.<locals>.Inner: bad"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_the_line_that_says_what_was_raised_is_found(exc: BaseException, line: str) -> None:
    assert raised(text_of(exc)) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("The worker that ran it is gone: it was killed.", "The worker that ran it is gone: it was killed."),
        ("TimeoutError: the attempt took longer.", "TimeoutError: the attempt took longer."),
        ("", ""),
        ("\n \n", ""),
        ("Traceback (most recent call last):\n  File x\n...\nend of a long text", "Error"),
        ("Traceback (most recent call last):\n", "Error"),
    ],
)
def test_what_is_no_traceback_says_it_by_itself(text: str, line: str) -> None:
    assert raised(text) == line
