"""One connection of the service's own to Redis, kept: to take one from the pool costs as much as a short command."""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError


class Wire:
    """Sends commands together and gives what Redis says to each; connects when first used, and anew where it must."""

    def __init__(self, redis: Any) -> None:
        self._pool = redis.connection_pool
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers as bytes and lists, in the order of the commands; an error of one of them is its answer.

        Repeats them once after a broken connection, as every connection is after Redis was started anew. Raises what
        redis-py raises when that does not help.
        """
        async with self._turn:
            try:
                return await self._exchange(commands)
            except ConnectionLost:
                return await self._exchange(commands)

    async def close(self) -> None:
        """Gives the connection back."""
        if self._connection is not None:
            await self._pool.release(self._connection)
            self._connection = None

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self._connection is None:
            self._connection = await self._pool.get_connection()
        connection = self._connection
        try:
            await connection.send_packed_command(
                [part for command in commands for part in connection.pack_command(*command)]
            )
            return [await _answer(connection) for _ in commands]
        except BaseException:
            # What is still to come would be taken for the answers to what is asked next.
            await connection.disconnect(nowait=True)
            raise


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as exc:
        return exc
