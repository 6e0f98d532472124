"""A program that checks a key in a database file which it may not write, as a user without rights: PATH KEY."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends

from app_kernel import get_current_user
from app_kernel.api_keys import Auth, create_combined_auth, get_api_key
from app_kernel.core.errors import StorageReadOnly
from app_kernel.core.ports import EntityStore
from app_kernel.db import connect
from tests.api_keys.serving import serving

NOBODY = 65534


async def main(path: str, key: str) -> None:
    """Says how the requests ended, what the last use is then, and whether the file could be written at all."""

    @asynccontextmanager
    async def open_db() -> AsyncIterator[EntityStore]:
        async with connect(f"sqlite:///{path}") as db:
            yield db

    router = APIRouter()

    @router.get("/readonly")
    async def route(auth: Auth = Depends(create_combined_auth(open_db, get_current_user))) -> str:  # noqa: B008
        return str(auth.key_id)

    async with serving("sqlite://:memory:", routers=[router]) as service:
        statuses = []
        for _ in range(3):
            answer = await service.call("GET", "/readonly", key)
            statuses.append(answer.status_code)
            await service.live.uses.flush()
        key_id = answer.json()
    async with open_db() as db:
        last_used_at = (await get_api_key(db, key_id))["last_used_at"]
        try:
            await db.save_entity("items", {"id": "a"})
            written = True
        except StorageReadOnly:
            written = False
    print(json.dumps({"statuses": statuses, "last_used_at": last_used_at, "written": written}), file=sys.stderr)


if __name__ == "__main__":
    if os.geteuid() == 0:
        # Root may write everywhere; whoever runs the tests without being root has no more rights than nobody here.
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    asyncio.run(main(*sys.argv[1:]))
