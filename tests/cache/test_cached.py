"""`@cached` and `get_or_set`, in memory and in a real Redis: keys, ids, types, methods, one computation for all."""

import asyncio
import inspect
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel import acting_as
from app_kernel.cache import cache, cached
from app_kernel.core.context import actor_id
from app_kernel.core.errors import InvalidCacheKey, UncacheableValue
from app_kernel.testing import KernelClient
from tests.cache.serving import counted, internals, serving, until


class Source:
    """What is computed, and how often."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, it: Any) -> list[Any]:
        self.calls.append(it)
        number = len(self.calls)
        await self.gate.wait()
        return [it, number]


@pytest.mark.acceptance("RL6")
async def test_two_tenants_never_get_each_others_values_whatever_their_ids_are(client: KernelClient) -> None:
    source = Source()

    @cached(ttl=60, key="projects:{workspace_id}:{status}", tags=["ws:{workspace_id}"])
    async def get_projects(workspace_id: Any, status: Any = "*") -> list[Any]:
        return await source.read([workspace_id, status])

    ids = [
        "a",
        "a:b",
        "b",
        "*",
        "a*",
        "",
        ":",
        "{a}",
        "{workspace_id}",
        "%3A",
        "a%3Ab",
        "ä",
        "1",
        "None",
        "True",
        "1.0",
    ]
    ids += [1, None, True, 1.0]  # type: ignore[list-item]
    pairs = [(one, other) for one in ids for other in ("a", "b:a", "*")]
    for one, other in pairs:
        assert (await get_projects(one, other))[0] == [one, other]
    for one, other in pairs:
        found = (await get_projects(one, other))[0]
        assert found == [one, other]
        assert type(found[0]) is type(one)
    calls = len(source.calls)
    await get_projects.invalidate("a:b", "a")
    assert (await get_projects("a", "b:a"))[0] == ["a", "b:a"]
    await cache.delete_tags("ws:a")
    assert (await get_projects("a:b", "b:a"))[0] == ["a:b", "b:a"]
    assert len(source.calls) == calls
    assert await get_projects("a", "a") == [["a", "a"], calls + 1]


async def test_a_call_is_recognised_however_its_arguments_are_given(client: KernelClient) -> None:
    source = Source()

    @cached(ttl=60, key="p:{workspace_id}:{limit}", ignore=["db"])
    async def get_projects(db: object, workspace_id: str, *, limit: int = 10) -> list[Any]:
        return await source.read(workspace_id)

    assert await get_projects(None, "a") == ["a", 1]
    assert await get_projects(object(), workspace_id="a", limit=10) == ["a", 1]
    assert await get_projects(workspace_id="a", db=1) == ["a", 1]
    assert await get_projects(None, "a", limit=11) == ["a", 2]
    assert get_projects.key(None, "a") == "p:a:10"
    for call in (
        lambda: get_projects(None),
        lambda: get_projects("a", db=1),
        lambda: get_projects(None, "a", 10),
        lambda: get_projects(None, "a", bogus=1),
        lambda: get_projects.invalidate(bogus=1),
        lambda: get_projects.invalidate(limit=10),
    ):
        with pytest.raises(TypeError, match="argument"):
            await call()
    with pytest.raises(InvalidCacheKey):
        await get_projects(None, ["a"])
    assert len(source.calls) == 2


async def test_invalidate_needs_only_the_arguments_that_the_key_names(client: KernelClient) -> None:
    source = Source()

    @cached(ttl=60, key="p:{workspace_id}", ignore=["db"])
    async def get_projects(db: object, workspace_id: str) -> list[Any]:
        return await source.read(workspace_id)

    assert await get_projects(None, "a") == ["a", 1]
    await get_projects.invalidate(workspace_id="a")
    assert await get_projects(None, "a") == ["a", 2]
    assert await get_projects.refresh(None, "a") == ["a", 3]
    assert await get_projects(None, "a") == ["a", 3]
    assert await cache.get(get_projects.key(None, "a")) == ["a", 3]
    await cache.set("p:a", "primed", ttl=60)
    assert await get_projects(None, "a") == "primed"


@dataclass
class Actor:
    id: str


class Repository:
    def __init__(self, tenant: str, source: Source) -> None:
        self.tenant = tenant
        self.source = source

    @cached(ttl=60, key="repo:{self.tenant}:{actor.id}:{name}")
    async def find(self, actor: Actor, name: str) -> list[Any]:
        """Finds."""
        return await self.source.read((await self.tenant_of())[0] + name)

    async def tenant_of(self) -> str:
        return self.tenant


async def test_a_method_is_bound_and_attributes_can_be_named(client: KernelClient) -> None:
    source = Source()
    one, other, ada = Repository("x", source), Repository("y", source), Actor("ada")
    assert await one.find(ada, "n") == ["xn", 1]
    assert await Repository("x", source).find(Actor("ada"), name="n") == ["xn", 1]
    assert await other.find(ada, "n") == ["yn", 2]
    assert await one.find(Actor("bob"), "n") == ["xn", 3]
    await one.find.invalidate(ada, "n")
    assert one.find.key(ada, "n") == "repo:x:ada:n"
    assert await one.find(ada, "n") == ["xn", 4]
    assert await one.find.refresh(ada, "n") == ["xn", 5]
    assert await other.find(ada, "n") == ["yn", 2]
    assert await Repository.find(one, ada, "n") == ["xn", 5]
    assert (Repository.find.__name__, Repository.find.__doc__) == ("find", "Finds.")
    assert list(inspect.signature(Repository.find).parameters) == ["self", "actor", "name"]


async def test_it_can_be_a_dependency_and_a_route() -> None:
    router = APIRouter()
    calls: list[str] = []

    @cached(ttl=60, key="dep:{name}")
    async def found(name: str) -> dict[str, str]:
        calls.append(name)
        return {"name": name}

    @router.get("/dep/{name}")
    async def through_dependency(it: dict[str, str] = Depends(found)) -> dict[str, str]:
        return it

    router.add_api_route("/route/{name}", found)
    async with serving(routers=[router]) as client:
        answers = [(await client.get(path)).json() for path in ("/dep/a", "/route/a", "/dep/b")]
    assert answers == [{"name": "a"}, {"name": "a"}, {"name": "b"}]
    assert calls == ["a", "b"]


@pytest.mark.acceptance("RL6")
async def test_an_empty_result_is_computed_once_too(client: KernelClient) -> None:
    calls: list[int] = []
    empty: list[Any] = [None, False, [], 0, "", {}]

    @cached(ttl=60, key="empty:{number}")
    async def result(number: int) -> Any:
        calls.append(number)
        return empty[number]

    for _ in range(3):
        found = [await result(number) for number in range(len(empty))]
        assert found == empty
        assert found[1] is False
    assert calls == list(range(len(empty)))


@pytest.mark.acceptance("RL6")
async def test_200_who_miss_at_once_cause_one_computation(client: KernelClient) -> None:
    source = Source()

    @cached(ttl=60, key="p:{workspace_id}")
    async def get_projects(workspace_id: str) -> list[Any]:
        return await source.read(workspace_id)

    source.gate.clear()
    callers = [asyncio.create_task(get_projects("a")) for _ in range(200)]
    await until(lambda: source.calls)
    latecomers = [asyncio.create_task(get_projects("a")) for _ in range(50)]
    await asyncio.sleep(0.02)
    source.gate.set()
    found = await asyncio.gather(*callers, *latecomers)
    assert found == [["a", 1]] * 250
    assert len({id(each) for each in found}) == 250, "callers share one object"
    assert source.calls == ["a"]


async def test_who_computes_may_leave_and_who_waits_may_too(client: KernelClient) -> None:
    source = Source()
    source.gate.clear()

    async def ask() -> Any:
        return await cache.get_or_set("a", lambda: source.read("a"), ttl=60)

    callers = [asyncio.create_task(ask()) for _ in range(3)]
    await until(lambda: source.calls)
    callers[0].cancel()
    callers[1].cancel()
    await asyncio.sleep(0.01)
    source.gate.set()
    assert await callers[2] == ["a", 1]
    # When all have left, nobody needs it.
    await cache.delete("a")
    source.gate.clear()
    last = asyncio.create_task(ask())
    await until(lambda: len(source.calls) == 2)
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)
    await until(lambda: not list(internals(client)._flights))
    source.gate.set()
    async with asyncio.timeout(2):
        assert await ask() == ["a", 3]


async def test_a_computation_that_fails_fails_for_all_who_wait_and_is_tried_again_by_the_next(
    client: KernelClient,
) -> None:
    calls: list[int] = []

    @cached(ttl=60, key="failing")
    async def failing() -> int:
        calls.append(1)
        await asyncio.sleep(0.02)
        if len(calls) == 1:
            raise LookupError("once")
        return len(calls)

    told = await asyncio.gather(*(failing() for _ in range(20)), return_exceptions=True)
    assert {str(each) for each in told} == {"once"}
    assert len(calls) == 1
    async with asyncio.timeout(2):
        assert await failing() == 2


async def test_what_cannot_be_kept_is_an_error_that_names_the_template_and_no_id(client: KernelClient) -> None:
    @cached(ttl=60, key="p:{workspace_id}")
    async def pair(workspace_id: str) -> Any:
        return {"at": (1, 2)}

    with pytest.raises(
        UncacheableValue, match=r"pair, cached as p:\{workspace_id\}: value\['at'\] is a tuple"
    ) as caught:
        await pair("secret-id")
    assert "secret-id" not in str(caught.value)
    async with client.db.transaction():
        with pytest.raises(UncacheableValue):
            await pair("secret-id")


async def test_cached_functions_may_call_each_other_even_in_a_circle(client: KernelClient) -> None:
    calls: list[str] = []

    @cached(ttl=60, key="count:{number}")
    async def count(number: int) -> int:
        calls.append("count")
        return 0 if number == 0 else await count(number - 1) + 1

    @cached(ttl=60, key="even:{depth}")
    async def even(depth: str) -> int:
        calls.append("even")
        await asyncio.sleep(0.01)
        return 1 if calls.count("even") > 1 else await odd("x")

    @cached(ttl=60, key="odd:{depth}")
    async def odd(depth: str) -> int:
        await asyncio.sleep(0.01)
        return await even("x") + 1

    @cached(ttl=60, key="self")
    async def own() -> int:
        calls.append("own")
        return 1 if calls.count("own") > 1 else await own()

    async with asyncio.timeout(5):
        assert await count(5) == 5
        assert await asyncio.gather(even("x"), odd("x")) == [2, 2]
        assert await own() == 1


async def test_a_computation_runs_in_the_context_of_who_caused_it(client: KernelClient) -> None:
    with acting_as("ada"):
        assert await cache.get_or_set("who", actor_id, ttl=60) == "ada"


async def test_what_is_done_is_counted(client: KernelClient) -> None:
    place = "memory" if internals(client)._shared is None else "redis"
    await cache.get("a")
    await cache.set("a", 1, ttl=60)
    await cache.get("a")
    await cache.get_or_set("a", lambda: 2, ttl=60)
    await cache.get_or_set("b", lambda: 2, ttl=60)
    await cache.delete("a", "b")
    kept = {outcome: counted(client, "get", outcome, place) for outcome in ("hit", "miss", "error")}
    assert kept == {"hit": 2, "miss": 2, "error": 0}
    assert (counted(client, "set", "done", place), counted(client, "delete", "done", place)) == (2, 2)
    await internals(client).tell()
    text = (await client.get("/metrics")).text
    assert f'app_kernel_cache_operations_total{{backend="{place}",operation="get",outcome="hit"}} 2.0' in text
    assert "app_kernel_cache_entries 0.0" in text
    assert not internals(client)._counts
