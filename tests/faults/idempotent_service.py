"""A service that is sent writes with keys until it is killed: RUN. It tells what it tries and what was acknowledged.

RUN "stopped" sends one write whose handler stops the process in the middle of its transaction.
"""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Depends, FastAPI, Header
from pydantic import BaseModel
from starlette.types import Scope

from app_kernel import FEATURES, Feature, ServiceConfig, UserIdentity, create_service
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.db import db_connection
from app_kernel.idempotency import claims, idempotent
from tests.faults.children import emit

LANES = 4
ENTITY = "payments"
SECRET = "of-a-service-that-nobody-can-reach-0123456789"
LEASE = timedelta(seconds=1)

Db = Annotated[EntityStore, Depends(db_connection)]


class Payment(BaseModel):
    """What is saved."""

    mark: str


async def somebody(kernel: Kernel, scope: Scope) -> UserIdentity:
    """Everybody is the same user."""
    return UserIdentity("u", "u@example.com")


def make_app(url: str) -> FastAPI:
    """The service on this database."""
    router = APIRouter()

    @router.post("/once", status_code=201)
    @idempotent
    async def once(payment: Payment, db: Db, x_stop: Annotated[bool, Header()] = False) -> dict[str, Any]:
        row = await db.save_entity(ENTITY, {"mark": payment.mark})
        if x_stop:
            emit(stopping=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        return row

    @router.post("/plain", status_code=201)
    async def plain(payment: Payment, db: Db) -> dict[str, Any]:
        return await db.save_entity(ENTITY, {"mark": payment.mark})

    config = ServiceConfig(
        jwt_secret=SECRET,
        database_name=url,
        auth_enabled=False,
        embedded_worker=False,
        rate_limit_enabled=False,
        log_level="ERROR",
    )
    features = [*FEATURES, Feature(name="somebody", authenticator=somebody)]
    return create_service("payments", config=config, routers=[router], features=features)


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running service."""
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client


async def pay(client: httpx2.AsyncClient, path: str, mark: str, *, stop: bool = False) -> httpx2.Response:
    """One write, whose key is its mark."""
    return await client.post(path, json={"mark": mark}, headers={"Idempotency-Key": mark, "X-Stop": str(stop)})


async def lane(client: httpx2.AsyncClient, run: str, number: int) -> None:
    """One write after another."""
    path = "/plain" if number == 0 else "/once"
    for count in itertools.count():
        mark = f"{run}-{number}-{count}"
        emit(intent=mark, path=path)
        answer = await pay(client, path, mark)
        emit(ack=mark, status=answer.status_code, body=answer.text)


async def main(run: str) -> None:
    """Starts the service and lets it be killed."""
    claims.LEASE = LEASE  # so that a retry need not wait for long
    async with client_of(make_app(os.environ["DATABASE_URL"])) as client:
        if run == "stopped":
            answer = await pay(client, "/once", "mark", stop=True)
            emit(status=answer.status_code)
            return
        await asyncio.gather(*(lane(client, run, number) for number in range(LANES)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
