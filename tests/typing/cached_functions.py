"""What a type checker must make of cached functions; checked by mypy and pyright, run by nobody."""

from typing import Any, assert_type

from app_kernel.cache import cache, cached


@cached(ttl=300, key="projects:{workspace_id}:{limit}", tags=["ws:{workspace_id}"])
async def get_projects(workspace_id: str, *, limit: int = 10) -> list[str]:
    return [workspace_id] * limit


class Repository:
    @cached(ttl=1.5, key="count:{name}")
    async def count(self, name: str) -> int:
        return len(name)


async def use() -> None:
    assert_type(await get_projects("w1", limit=3), list[str])
    assert_type(await get_projects.refresh("w1"), list[str])
    assert_type(get_projects.key("w1"), str)
    assert_type(await Repository().count("a"), int)
    assert_type(await cache.get("a"), Any)
    assert_type(await cache.get_many(["a"]), dict[str, Any])
    await get_projects.invalidate("w1")
    await get_projects(1)  # type: ignore[arg-type]
    await get_projects("w1", offset=3)  # type: ignore[call-arg]
