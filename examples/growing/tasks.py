"""What the letters service does in the background: in the service itself, or in a worker with `--tasks tasks`."""

from app_kernel import JobRegistry
from app_kernel.db import get_db_connection

registry = JobRegistry()


@registry.task("post_letter")
async def post_letter(letter_id: str) -> None:
    async with get_db_connection() as db:
        # The same save again changes nothing, so the job may run twice.
        await db.save_entity("letters", {"id": letter_id, "status": "posted"})
