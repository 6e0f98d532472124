"""Bare FastAPI with one endpoint that returns a small dict, once as one would write it and once annotated."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI

router = APIRouter()


@router.get("/plain")
async def plain():  # type: ignore[no-untyped-def]
    """The style of the contract's Quick Start: no annotation, so FastAPI walks the value."""
    return {"id": "w-1", "name": "bolt", "color": "blue", "count": 3, "active": True}


@router.get("/typed")
async def typed() -> dict[str, Any]:
    """FastAPI's fast path: the annotation lets pydantic write the JSON."""
    return {"id": "w-1", "name": "bolt", "color": "blue", "count": 3, "active": True}


app = FastAPI(title="bare")
app.include_router(router)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """What the start-up is timed against."""
    return {"status": "ok"}
