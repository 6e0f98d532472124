"""A copy that is killed anywhere goes on, takes over what changed meanwhile, and nobody takes a half for the whole."""

import random
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.errors import TransferUnderWay
from app_kernel.db import connect
from tests.db.transfer.places import copy, empty_place
from tests.faults.children import Child
from tests.faults.figures import SOAK, figure

ROWS = figure(short=2_000, long=30_000)
KILLS = figure(short=3, long=30)
IN_THE_LONG_RUN = pytest.mark.skipif(not SOAK, reason="the same lines run on the other two: for the long run")


@pytest.mark.acceptance("DB18")
@pytest.mark.parametrize("backend", ["sqlite", "postgres", pytest.param("mysql", marks=IN_THE_LONG_RUN)])
async def test_a_copy_that_is_killed_again_and_again_ends_equal(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = None if backend == "sqlite" else request.getfixturevalue(f"{backend}_url")
    source = f"sqlite:///{tmp_path}/source.db?synchronous=NORMAL"
    chance = random.Random(20)
    async with empty_place(backend, tmp_path, server) as target, connect(source) as db:
        await db.save_entities("things", [{"id": f"t{n:06}", "n": n, "name": f"name {n}"} for n in range(ROWS)])
        await db.ensure_index("things", ["name"], unique=True)
        refused = 0
        for number in range(KILLS):
            with Child("copying_process", source, target) as child:
                last = number * chance.randint(1, 3)
                for steps, _ in enumerate(child.lines()):
                    if steps < last or chance.random() < 0.5:
                        child.tell("go on")
                    if steps >= last:
                        child.kill()
                        break
                child.wait()
            refused += await _is_refused(target)
            await _change(db, chance)
        assert refused == KILLS
        result = await copy(source, target)
        assert result.resumed
        async with connect(target) as copied:
            assert await _all(copied) == await _all(db)


async def _is_refused(url: str) -> bool:
    try:
        async with connect(url):
            return False
    except TransferUnderWay:
        return True


async def _change(db: Any, chance: random.Random) -> None:
    for _ in range(20):
        id = f"t{chance.randrange(ROWS):06}"
        if chance.random() < 0.3:
            await db.delete_entity("things", id, permanent=True, purge_history=chance.random() < 0.5)
        else:
            await db.save_entity("things", {"id": id, "name": f"changed {chance.random()}"})


async def _all(db: Any) -> list[Any]:
    history = await db.execute("SELECT * FROM [things_history] ORDER BY [id], [_version]")
    told = [dict(sorted(row.items())) for row in history]
    return [await db.find_entities("things", order_by="id"), told]
