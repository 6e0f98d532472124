"""Requests straight into the ASGI application, and what comes back: thousands of them in a few seconds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from starlette.types import ASGIApp, Message

from app_kernel.core.context import current_context, in_context
from app_kernel.core.exchange import failures
from app_kernel.core.named_workspaces import HEADER, PARAMETER

EXCERPT = 160
"""Characters of what a report quotes."""
_UNREADABLE = re.compile(r"[^ -~\u00a1-\ud7ff\ue000-\ufffc]+")


@dataclass(slots=True)
class Sent:
    """A request, as it is sent and as a report shows it."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    is_form: bool = False

    def __str__(self) -> str:
        text = f"{self.method} {self.path}" + (f"?{urlencode(self.query)}" if self.query else "")
        text += "".join(f" {name}: {value}" for name, value in self.headers)
        return text if self.body is None else f"{text} {orjson.dumps(self.body).decode()}"

    def with_header(self, name: str, value: str) -> "Sent":
        """The same with this header, in place of others of its name."""
        return replace(self, headers=(*(pair for pair in self.headers if pair[0] != name), (name, value)))

    def with_query(self, name: str, value: str) -> "Sent":
        """The same with this query parameter, in place of others of its name."""
        return replace(self, query=(*(pair for pair in self.query if pair[0] != name), (name, value)))

    def without_place(self) -> "Sent":
        """The same without what names a workspace beside the path."""
        headers = tuple(pair for pair in self.headers if pair[0] != HEADER)
        return replace(self, headers=headers, query=tuple(pair for pair in self.query if pair[0] != PARAMETER))

    def mentions(self, text: str) -> bool:
        """Whether the text stands anywhere in it."""
        return text in str(self)


@dataclass(slots=True)
class Answer:
    """What came back."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    raised: str = ""
    """What the application raised, its class and message, where it raised something in place of an answer."""

    @property
    def is_good(self) -> bool:
        """Whether what was asked for was done, or the caller was sent on."""
        return 200 <= self.status < 400

    def json(self) -> Any:
        """The body as JSON; None for anything else."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    def text(self) -> str:
        """Headers and body as one text, to search in."""
        lines = [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in self.headers]
        return "\n".join((*lines, self.body.decode("utf-8", "replace")))

    def around(self, text: str) -> str:
        """What stands around a text that is in lower case, in the header or the body that has it."""
        lines = self.text().splitlines()
        headers, body = lines[: len(self.headers)], "\n".join(lines[len(self.headers) :])
        for part in (body, *headers):
            at = part.lower().find(text)
            if at >= 0:
                before = part[max(0, at - 60) : at]
                return f"...{readable(before[max(0, before.rfind('{')) :] + part[at : at + 40])}..."
        return f"...{text}..."

    def excerpt(self) -> str:
        """What was raised, else how the body begins."""
        return readable(self.raised or self.body[: 4 * EXCERPT].decode("utf-8", "replace"))


def readable(text: str) -> str:
    """The beginning of a text in one line, without what nobody can read."""
    return " ".join(_UNREADABLE.sub(" ", text).split())[:EXCERPT]


async def send(app: ASGIApp, sent: Sent, credentials: Mapping[str, str], address: str) -> Answer:
    """Sends a request with these further headers from an address, and reads the whole answer."""
    body, kind = _encoded(sent)
    headers = [("host", "testserver"), *credentials.items(), *sent.headers]
    if kind:
        headers += [("content-type", kind), ("content-length", str(len(body)))]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": sent.path,
        "raw_path": quote(sent.path).encode(),
        "query_string": urlencode(sent.query).encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": (address, 40000),
        "server": ("testserver", 80),
        "state": {},
    }
    answer, waiting = Answer(), [body]

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return {"type": "http.disconnect"}

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    # What a request sets in its context ends with the request, as behind a server.
    with in_context(current_context()):
        noted: list[Exception] = []
        before = failures.set(noted)
        try:
            await app(scope, receive, keep)
        except Exception as exc:  # noqa: BLE001 - whatever it raises, its client gets a 500
            answer.status = 500
            noted.append(exc)
        finally:
            failures.reset(before)
    answer.raised = f"{type(noted[0]).__name__}: {noted[0]}" if noted else ""
    return answer


def _encoded(sent: Sent) -> tuple[bytes, str]:
    if sent.body is None:
        return b"", ""
    if sent.is_form:
        pairs: Sequence[tuple[str, Any]] = [(name, value) for name, value in sent.body.items() if value is not None]
        return urlencode(pairs).encode(), "application/x-www-form-urlencoded"
    return orjson.dumps(sent.body), "application/json"
