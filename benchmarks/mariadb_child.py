"""Statements for a MariaDB database, run where nothing is measured."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import asyncmy

from benchmarks.harness import answer
from benchmarks.peers.store_asyncmy import address


async def run(url: str, statements: list[str]) -> list[list[Any]]:
    """The rows of the last one."""
    connection = await asyncmy.connect(**address(url), autocommit=True)
    try:
        found: list[Any] = []
        for statement in statements:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
                found = list(await cursor.fetchall() or ())
        return [list(row) for row in found]
    finally:
        await connection.ensure_closed()


if __name__ == "__main__":
    answer(asyncio.run(run(**json.load(sys.stdin))))
