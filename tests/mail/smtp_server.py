"""A mail server on the loopback that speaks as much SMTP as tests need, and misbehaves as they ask."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

Stall = "stall"
Cut = "cut"


@dataclass
class Received:
    """One mail that the server took."""

    sender: str
    recipient: str
    data: bytes
    over_tls: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        """The mail, read by the standard library."""
        message = message_from_bytes(self.data, policy=default)
        assert isinstance(message, EmailMessage)
        return message


@dataclass
class SmtpServer:
    """What it does next, and what it received."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)
    """By command (GREETING, EHLO, AUTH, MAIL, RCPT, DATA, TAKEN), what it answers, one by one, in place of success."""
    context: ssl.SSLContext | None = None
    """With it, STARTTLS is offered."""
    users: dict[str, str] = field(default_factory=dict)
    """With them, AUTH is demanded."""
    extensions: tuple[str, ...] = ()
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody waits for an answer that does not come."""
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def host(self) -> str:
        """As an SMTP URL names it."""
        return f"127.0.0.1:{self.port}"

    def commanded(self, verb: str) -> int:
        """How many times it was told this."""
        return sum(command.upper().startswith(verb) for command in self.commands)

    async def start(self) -> None:
        """Listens, where it did before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends, and cuts who is connected."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    def _next(self, step: str, success: str) -> str:
        waiting = self.answers.get(step, [])
        return waiting.pop(0) if waiting else success

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await _Session(self, reader, writer).run()
        finally:
            self._open.discard(writer)
            writer.transport.abort()


class _Session:
    def __init__(self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.sender = self.recipient = ""
        self.user: str | None = None
        self.over_tls = False

    async def say(self, step: str, success: str) -> bool:
        """Whether it answered as in success."""
        answer = self.server._next(step, success)
        if answer == Stall:
            self.server.stalled.set()
            await asyncio.Event().wait()
        if answer == Cut:
            raise ConnectionResetError
        self.writer.write(f"{answer}\r\n".encode())
        await self.writer.drain()
        return answer == success

    async def run(self) -> None:
        await self.say("GREETING", "220 test ESMTP")
        while line := (await self.reader.readline()).decode().rstrip("\r\n"):
            self.server.commands.append(line)
            verb = line.split(" ")[0].upper()
            handle: Callable[[str], object] = getattr(self, f"on_{verb.lower()}", self.on_unknown)
            await handle(line)  # type: ignore[misc]
            if verb == "QUIT":
                return

    async def on_unknown(self, line: str) -> None:
        await self.say("?", "502 5.5.2 no such command")

    async def on_ehlo(self, line: str) -> None:
        words = [*self.server.extensions]
        if self.server.context is not None and not self.over_tls:
            words.append("STARTTLS")
        if self.server.users:
            words.append("AUTH PLAIN")
        lines = ["250-test", *(f"250-{word}" for word in words), "250 HELP"]
        await self.say("EHLO", "\r\n".join(lines))

    async def on_starttls(self, line: str) -> None:
        if await self.say("STARTTLS", "220 go"):
            assert self.server.context is not None
            await self.writer.start_tls(self.server.context)
            self.over_tls = True

    async def on_auth(self, line: str) -> None:
        _, _, given = base64.b64decode(line.split(" ")[2]).decode().partition("\0")
        user, _, password = given.partition("\0")
        if self.server.users.get(user) != password:
            await self.say("?", "535 5.7.8 wrong password")
        elif await self.say("AUTH", "235 2.7.0 welcome"):
            self.user = user

    async def on_mail(self, line: str) -> None:
        if self.server.users and self.user is None:
            await self.say("?", "530 5.7.0 authenticate first")
            return
        self.sender = line[10:].partition(">")[0].lstrip("<")
        await self.say("MAIL", "250 2.1.0 ok")

    async def on_rcpt(self, line: str) -> None:
        self.recipient = line[8:].partition(">")[0].lstrip("<")
        await self.say("RCPT", "250 2.1.5 ok")

    async def on_data(self, line: str) -> None:
        if not await self.say("DATA", "354 go ahead"):
            return
        data = await self.reader.readuntil(b"\r\n.\r\n")
        data = data[:-3].replace(b"\r\n..", b"\r\n.")
        answer = self.server.answers.get("TAKEN", [])
        if not answer or answer[0] in (Cut, Stall):
            # Taken, whether or not the client comes to know of it.
            mail = Received(self.sender, self.recipient, data, self.over_tls, self.user)
            self.server.received.append(mail)
            self.server.arrived.set()
        await self.say("TAKEN", "250 2.0.0 taken")

    async def on_rset(self, line: str) -> None:
        await self.say("RSET", "250 2.0.0 ok")

    async def on_quit(self, line: str) -> None:
        await self.say("QUIT", "221 2.0.0 bye")


@asynccontextmanager
async def smtp_server(**options: object) -> AsyncIterator[SmtpServer]:
    """A running server."""
    server = SmtpServer(**options)  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
