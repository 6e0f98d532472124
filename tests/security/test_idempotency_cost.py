"""What a stranger may cost: a request with a key is not looked into before its caller was let in."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app_kernel.idempotency import gate, requests
from tests.conformance.backends import BACKENDS
from tests.idempotency.serving import serving

LONGEST = 31_000
"""Bytes of a header, nearly as many as the kernel takes."""
FORGED = {
    "semicolons in quotes": 'multipart/x; x="' + ";" * LONGEST,
    "semicolons": "multipart/x" + ";" * LONGEST,
    "spaces": "multipart/x;" + " " * LONGEST + "boundary",
    "boundaries": "multipart/x" + ";boundary=" * (LONGEST // 10),
    "escapes": 'multipart/x; boundary="' + "\\" * LONGEST,
    "other characters": "multipart/x; boundary*=utf-8''%E2%82%AC",
    "pieces": "multipart/x; boundary*0*=bogus''a; boundary*1=b",
}


@contextmanager
def counted_lines() -> Iterator[list[int]]:
    """Counts the lines of Python that run in the block: a measure of work that no busy machine disturbs."""
    count = [0]

    def trace(frame: Any, event: str, arg: Any) -> Any:
        count[0] += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


async def test_a_forged_content_type_of_nobody_is_never_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(gate, "describe", lambda *args: seen.append(args) or b"")
    async with BACKENDS["sqlite"]() as place, serving(place.url) as service:
        for name, forged in FORGED.items():
            for path, status in (("/payments", 401), ("/open", 200)):
                answer = await service.post(path, None, "k", headers={"Content-Type": forged})
                assert (answer.status_code, seen) == (status, []), name
        assert (await service.post("/payments", "user:ada", "k")).status_code == 200
        assert len(seen) == 1


async def test_a_forged_content_type_of_a_user_is_an_ordinary_request() -> None:
    async with BACKENDS["sqlite"]() as place, serving(place.url) as service:
        for number, (name, forged) in enumerate(FORGED.items(), 1):
            for _ in range(2):
                answer = await service.post("/payments", "user:ada", str(number), headers={"Content-Type": forged})
                assert (answer.status_code, answer.json()) == (200, {"number": number}), name


@pytest.mark.parametrize("name", FORGED)
def test_the_work_on_a_content_type_does_not_grow_with_it(name: str) -> None:
    scope = {"method": "POST", "path": "/", "query_string": b"", "headers": [(b"content-type", FORGED[name].encode())]}
    with counted_lines() as count:
        requests.describe(scope, b"body")
    assert count[0] < 100


def test_the_work_on_a_body_does_not_grow_with_its_delimiters() -> None:
    scope = {
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/x; boundary=a")],
    }
    for body in (b"\r\n--a" * 400_000, b"a" * 2_000_000, b"\r\n--a\r\n" * 300_000):
        with counted_lines() as count:
            requests.describe(scope, body)
        assert count[0] < 20 * requests.MAX_PARTS


async def test_a_large_body_is_hashed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[bool] = []
    describe = gate.describe

    def noted(*args: Any) -> bytes:
        threads.append(threading.current_thread() is threading.main_thread())
        return describe(*args)

    monkeypatch.setattr(gate, "describe", noted)
    async with BACKENDS["sqlite"]() as place, serving(place.url) as service:
        for size in (gate.LARGE - 1, gate.LARGE, gate.LARGE):
            answer = await service.post("/payments", "user:ada", str(size), content=b"x" * size)
            assert answer.status_code == 200
        assert service.shop.ran["payments"] == 2
    assert threads == [True, False, False]
