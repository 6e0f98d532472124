from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel

from app_kernel import create_service, ServiceConfig, get_current_user
from app_kernel.db import db_connection


# Pydantic for request validation
class WidgetCreate(BaseModel):
    name: str
    color: str = "blue"


router = APIRouter(prefix="/widgets", tags=["widgets"])


@router.post("")
async def create_widget(data: WidgetCreate, user=Depends(get_current_user), db=Depends(db_connection)):
    # Auto-creates 'widgets' table, auto-generates id/timestamps
    # created_by/updated_by auto-tracked via context
    return await db.save_entity("widgets", {
        "name": data.name,
        "color": data.color,
    })


@router.get("")
async def list_widgets(user=Depends(get_current_user), db=Depends(db_connection)):
    return await db.find_entities("widgets", where_clause="[created_by] = ?", params=(user.id,))


@router.get("/{id}")
async def get_widget(id: str, db=Depends(db_connection)):
    widget = await db.get_entity("widgets", id)
    if not widget:
        raise HTTPException(404)
    return widget


app = create_service(
    name="widget_service",
    routers=[router],
    config=ServiceConfig.from_env(),
)
