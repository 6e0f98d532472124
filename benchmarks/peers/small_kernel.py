"""The same endpoints on the kernel, everything on that is on by default, for signed-in users only."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from app_kernel import ServiceConfig, create_service, get_current_user

router = APIRouter()


@router.get("/plain")
async def plain(user=Depends(get_current_user)):  # type: ignore[no-untyped-def]
    """The style of the contract's Quick Start."""
    return {"id": "w-1", "name": "bolt", "color": "blue", "count": 3, "active": True}


@router.get("/typed")
async def typed(user: Any = Depends(get_current_user)) -> dict[str, Any]:
    """Annotated."""
    return {"id": "w-1", "name": "bolt", "color": "blue", "count": 3, "active": True}


@router.get("/open")
async def open_to_all():  # type: ignore[no-untyped-def]
    """Asks for nobody: what the layers cost without FastAPI's dependency."""
    return {"id": "w-1", "name": "bolt", "color": "blue", "count": 3, "active": True}


def build(features: Any = None) -> FastAPI:
    """The service; with all of its features when none are given."""
    return create_service(name="bench", routers=[router], config=ServiceConfig.from_env(), features=features)


app = build()
