"""A write that is sent twice takes effect once: `Idempotency-Key` on POST, PUT, PATCH and DELETE.

@router.post("/orders")
@idempotent
async def create_order(order: Order, db=Depends(db_connection), user=Depends(get_current_user)):
    return await db.save_entity("orders", {**order.model_dump(), "user_id": user.id})

A client that repeats the request with the same key gets the same answer. `@idempotent` makes the handler's work and the
kept answer one transaction, so that a process killed at any moment leaves both or nothing.
"""

from app_kernel.idempotency.decorator import idempotent
from app_kernel.idempotency.feature import create_feature

__all__ = ["create_feature", "idempotent"]
