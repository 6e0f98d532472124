"""Logs: one JSON line an event on standard output, with the request's id and without secrets."""

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from app_kernel.core.clock import timestamp
from app_kernel.core.context import current_context
from app_kernel.core.errors import ResponseAborted
from app_kernel.core.redaction import REDACTED, SECRET_WORDS

_SECRET_KEY = re.compile(SECRET_WORDS, re.IGNORECASE)
# Bounded and possessive throughout: a text that a client chose must not take longer than its length.
_SECRET_TEXT = re.compile(
    r"(?P<url>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,20}+://)[^\s\"'<>?#:@]{0,256}+:(?:[^\s\"'<>?#@]{0,256}+@)++"
    r"|(?P<scheme>\b(?:bearer|basic)\s{1,8}+)[a-z0-9._~+/=-]{8,}+"
    r"|(?<![\w-])eyJ[\w-]{8,4096}+\.[\w-]++\.[\w-]*+"
    r"|(?<!\w)sk_[a-z]{1,20}+_\w++"
    r"|(?P<key>(?<!\w)\w{0,40}(?:passw\w{0,20}|secret|token|api[-_]?key|authorization|dsn)(?:=|[\"']\s{0,8}+[:=]\s{0,8}+))"
    r"(?P<quote>[\"']?)[^\s\"',;&]++",
    re.IGNORECASE,
)
_LONGEST_TEXT = 32_768
"""Characters of one text in a line; what is longer is cut, because nobody reads it and everybody stores it."""
# JSON allows these raw, but a terminal or a line splitter acts on them.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
_MAX_DEPTH = 12
_SHORTEST_KNOWN = 6
"""Known secrets with fewer characters are not searched for in texts: they would blot out ordinary words."""


class _Settings:
    """The process's log level and the secrets it knows; one for all services of a process."""

    level = logging.INFO
    known: frozenset[str] = frozenset()
    lost_lines = 0


def get_logger(name: str = "app") -> FilteringBoundLogger:
    """A structlog logger whose events become JSON lines: `get_logger(__name__).info("widget_made", id=widget["id"])`.

    Each line carries level, timestamp (UTC, ISO 8601), logger, and inside a request or a job its request_id, user_id,
    job_id and trace_id.
    Values under keys such as `password` or `token` are redacted. It may be made before the service is.
    """
    bare = structlog.wrap_logger(
        None,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        processors=[_drop_below_level, structlog.processors.format_exc_info, _write],
    )
    logger: FilteringBoundLogger = bare.bind(logger=name)
    return logger


def configure_logging(level: str, secrets: Iterable[str | None] = ()) -> None:
    """Sets the process's log level, takes over the standard library's loggers (uvicorn's too) and hides `secrets`."""
    _Settings.level = logging.getLevelNamesMapping()[level]
    _Settings.known |= {secret for secret in secrets if secret and len(secret) >= _SHORTEST_KNOWN}
    root = logging.getLogger()
    if not any(isinstance(handler, _StandardLibraryBridge) for handler in root.handlers):
        root.addHandler(_StandardLibraryBridge())
    root.setLevel(_Settings.level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # the kernel writes its own access line
    for name in ("httpx", "httpx2"):  # one line for each request, with its whole URL
        logging.getLogger(name).setLevel(max(_Settings.level, logging.WARNING))


def logs_at(level: int) -> bool:
    """Whether events of this level, such as `logging.INFO`, are logged."""
    return level >= _Settings.level


def write_event(event: Mapping[str, Any]) -> None:
    """Writes one event as it is, with one call, for lines whose every field is known to be harmless."""
    write_line(encode_line(event))


def encode_line(event: Mapping[str, Any]) -> bytes:
    """One event as a line of JSON, without any character but its end that ends a line or moves a cursor."""
    try:
        line = orjson.dumps(event, option=_LINE)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, a key that is no text
        line = orjson.dumps(_harmless(event, 0), option=_LINE)
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()


def write_line(line: bytes) -> None:
    """Writes one line, its end included, to standard output; one that cannot be written is counted."""
    stream = sys.stdout
    try:
        buffer = getattr(stream, "buffer", None)
        if buffer is not None:
            buffer.write(line)
            buffer.flush()
        else:  # replaced by a stream of text, as some test runners do
            stream.write(line.decode())
            stream.flush()
    except (OSError, ValueError):
        _Settings.lost_lines += 1


def lost_lines() -> int:
    """How many lines could not be written since the process started."""
    return _Settings.lost_lines


def mask(text: str) -> str:
    """The text without what looks like a credential, and without the secrets this process knows; a long one is cut."""
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}... [{len(text) - _LONGEST_TEXT} more characters]"
    for secret in _Settings.known:
        if secret in text:
            text = text.replace(secret, REDACTED)
    return _SECRET_TEXT.sub(_keep_the_label, text)


def _keep_the_label(found: re.Match[str]) -> str:
    if found["url"]:
        return f"{found['url']}{REDACTED}@"
    return f"{found['scheme'] or found['key'] or ''}{found['quote'] or ''}{REDACTED}"


def _drop_below_level(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if logging.getLevelNamesMapping().get(method.upper(), logging.ERROR) < _Settings.level:
        raise structlog.DropEvent
    event["level"] = "error" if method == "exception" else method
    return event


def _write(_: WrappedLogger, __: str, event: EventDict) -> Any:
    _emit(event)
    raise structlog.DropEvent  # written; nothing is left for a wrapped logger to do


def _emit(fields: Mapping[str, Any]) -> None:
    context = current_context()
    line: dict[str, Any] = {"timestamp": timestamp(), "level": fields.get("level", "info"), "event": ""}
    if context.request_id is not None:
        line["request_id"] = context.request_id
    if context.actor_id is not None:
        line["user_id"] = context.actor_id
    if context.job_id is not None:
        line["job_id"] = context.job_id
    if context.traceparent is not None:
        line["trace_id"] = context.traceparent[3:35]
    line.update(_harmless(fields, 0))
    write_line(encode_line(line))


def harmless(value: Any) -> Any:
    """The value as plain JSON data without secrets, as a line of the log has it."""
    return _harmless(value, 0)


def _harmless(value: Any, depth: int) -> Any:
    """The value as plain JSON data without secrets; what is no JSON data becomes its masked text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if depth > _MAX_DEPTH:
        return "[too deep]"
    if isinstance(value, Mapping):
        return {_text(key): _harmless_field(key, field, depth + 1) for key, field in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_harmless(item, depth + 1) for item in value]
    return mask(_text(value))


def _harmless_field(key: Any, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool) or not _SECRET_KEY.search(str(key)):
        return _harmless(value, depth)
    return REDACTED


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()


_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class _StandardLibraryBridge(logging.Handler):
    """Turns records of the standard library's loggers into the same JSON lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        # The server logs what ended an answer midway; the layer that aborted it has logged the cause already.
        return not (record.exc_info and isinstance(record.exc_info[1], ResponseAborted))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = {key: value for key, value in vars(record).items() if key not in _RECORD_FIELDS}
            fields |= {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
            if record.exc_info:
                fields["exception"] = logging.Formatter().formatException(record.exc_info)
            _emit(fields)
        except Exception:  # noqa: BLE001 - as in the standard library: a log call never fails the code that makes it
            self.handleError(record)
