"""MySQL has ways to sign in that send the password as it is: never without TLS."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.db.url import make_driver

PASSWORD = "canary-secret"


def packet(number, payload):
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


GREETING = (
    b"\x0a10.11.6-MariaDB\0" + (7).to_bytes(4, "little") + b"12345678\0" + b"\xff\xf7" + b"\x2d" + b"\x02\0"
    b"\xff\x81\x15" + b"\0" * 10 + b"123456789012\0" + b"mysql_native_password\0"
)  # fmt: skip
"""Of a server that can do everything but TLS."""


@asynccontextmanager
async def asking_for_clear_text(asked, heard):
    """A server that wants the password as it is."""

    async def serve(reader, writer):
        writer.write(packet(0, GREETING))
        heard.append(await reader.read(4096))
        writer.write(packet(2, b"\xfe" + asked))
        heard.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize("mode", ["prefer", "disable"])
@pytest.mark.parametrize("asked", [b"mysql_clear_password\0", b"dialog\0\x01Password: "])
async def test_the_password_is_never_sent_in_clear_text(asked, mode):
    heard = []
    async with asking_for_clear_text(asked, heard) as port:
        driver = make_driver(f"mysql://me:{PASSWORD}@127.0.0.1:{port}/app?sslmode={mode}&connect_timeout=2")
        with pytest.raises(Unavailable, match="signs in by a method") as caught:
            await driver.open()
    assert heard, "the driver did not even answer the greeting"
    assert PASSWORD.encode() not in b"".join(heard)
    assert PASSWORD not in str(caught.value)
