"""A receiver of webhooks that fails in every way, in a process of its own: SECRETS LEDGER PORT, paths of three files.

The path of a request says how it fails; whether it does is left to chance. What it takes is in the ledger before it
answers, and each request is checked with another implementation of Standard Webhooks.
"""

import asyncio
import json
import os
import random
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from standardwebhooks.webhooks import Webhook

FAILS = 0.5
"""How likely a request fails, where not all do."""
GONE_AFTER = 3
"""Requests that /410 takes before it is gone."""

KINDS = ("ok", "500", "timeout", "reset", "drip", "404", "410", "429")


class Receiver:
    """What came in, and what is answered."""

    def __init__(self, secrets: dict[str, str], ledger: Path) -> None:
        self._oracles = {kind: Webhook(secret) for kind, secret in secrets.items()}
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._chance = random.Random(20_261_127)
        self._taken = 0

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            kind = lines[0].split(" ")[1].strip("/")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            event = self._oracles[kind].verify(body, headers)
            fails = kind == "404" or (kind == "410" and self._taken >= GONE_AFTER)
            fails = fails or (kind not in ("ok", "410") and self._chance.random() < FAILS)
            self._note(kind, headers["webhook-id"], event["data"]["n"], taken=not fails)
            self._taken += kind == "410"
            await (self._fail(kind, writer) if fails else self._answer(writer, "200 OK"))
        writer.close()

    def _note(self, kind: str, event_id: str, number: int, *, taken: bool) -> None:
        line = {"kind": kind, "id": event_id, "n": number, "taken": taken}
        os.write(self._ledger, json.dumps(line).encode() + b"\n")

    async def _fail(self, kind: str, writer: asyncio.StreamWriter) -> None:
        if kind == "timeout":
            await asyncio.sleep(5)
        elif kind == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif kind == "drip":
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: 0123456789\r\n\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)
        elif kind == "429":
            await self._answer(writer, "429 Too Many Requests", "Retry-After: 1\r\n")
        else:
            await self._answer(writer, f"{kind} Failed")

    async def _answer(self, writer: asyncio.StreamWriter, status: str, field: str = "") -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{field}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()


async def serve(receiver: Receiver, port: Path) -> None:
    """Until it is killed."""
    server = await asyncio.start_server(receiver.hear, "127.0.0.1", 0)
    await asyncio.to_thread(tell, port, server.sockets[0].getsockname()[1])
    await server.serve_forever()


def tell(file: Path, port: int) -> None:
    """Says in a file, which is whole when it is there, where the receiver is."""
    whole = file.with_suffix(".new")
    whole.write_text(str(port))
    whole.replace(file)


if __name__ == "__main__":
    secrets, ledger, port = map(Path, sys.argv[1:])
    asyncio.run(serve(Receiver(json.loads(secrets.read_text()), ledger), port))
