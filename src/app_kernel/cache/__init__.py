"""A cache: in Redis where the service has one, else in the memory of each process.

await cache.set("projects:ws-123", projects, ttl=300)
projects = await cache.get("projects:ws-123")

@cached(ttl=300, key="projects:{workspace_id}", tags=["ws:{workspace_id}"])
async def get_projects(workspace_id: str): ...

await get_projects.invalidate("ws-123")
"""

from app_kernel.cache.ambient import cache
from app_kernel.cache.decorator import cached
from app_kernel.cache.feature import create_feature
from app_kernel.cache.keys import escape_key

__all__ = ["cache", "cached", "create_feature", "escape_key"]
