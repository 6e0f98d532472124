"""Flags across processes: the same decisions everywhere, changes seen within a second, nothing lost."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app_kernel.db import connect
from app_kernel.flags import flag_enabled, get_flag, get_flag_history, set_flag
from tests.flags.serving import serving
from tests.zygote import start

ROOT = Path(__file__).parents[2]
SECOND = 1.0
"""How late another process may see a change, as documented."""


class Process:
    """A running `tests.flags.flag_process`."""

    def __init__(self, url: str, hash_seed: str = "1") -> None:
        (stdin, write), (read, stdout) = os.pipe(), os.pipe()
        self._stdin, self._stdout = open(write, "w"), open(read)  # noqa: PTH123, SIM115 - closed by `end`
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a descriptor is what is needed
            env = {**os.environ, "PYTHONHASHSEED": hash_seed}
            self._process = start(
                "tests.flags.flag_process",
                [url],
                cwd=ROOT,
                env=env,
                stdin=stdin,
                stdout=stdout,
                stderr=nowhere.fileno(),
            )
        os.close(stdin)
        os.close(stdout)

    async def started(self) -> None:
        assert await self._answer() == {"ready": True}

    def tell(self, **said: Any) -> "asyncio.Task[Any]":
        print(json.dumps(said), file=self._stdin, flush=True)
        return asyncio.create_task(self._answer())

    async def _answer(self) -> Any:
        async with asyncio.timeout(60):
            line = await asyncio.to_thread(self._stdout.readline)
        assert line, "the process ended"
        return json.loads(line)

    def end(self) -> None:
        self._process.kill()
        self._process.wait(30)
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()


@contextmanager
def processes(url: str, number: int = 1) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        running = [Process(url, str(seed)) for seed in range(number)]
        for process in running:
            stack.callback(process.end)
        yield running


@pytest.mark.slow
@pytest.mark.acceptance("RL7")
@pytest.mark.parametrize("way", ["by a service", "by a script, which signals nobody"])
async def test_another_process_sees_a_change_within_a_second(database, way, record_property):
    late: list[float] = []
    async with serving(database) as client, connect(database) as script:
        db = client.db if way == "by a service" else script
        await set_flag(db, "f", enabled=False)
        with processes(database) as [other]:
            await other.started()
            for turn in range(6):
                watching = other.tell(watch="f", wanted=turn % 2 == 0)
                await asyncio.sleep(0.1)
                assert not watching.done()
                await set_flag(db, "f", enabled=turn % 2 == 0)
                committed = time.monotonic()
                if way == "by a service":
                    assert await flag_enabled(client.db, "f") is (turn % 2 == 0), "here it counts at once"
                late.append((await watching)["seen"] - committed)
    record_property("seconds", late)
    print(f"\nseen {[round(each, 3) for each in late]} s after the commit, {way}")
    assert max(late) <= SECOND


@pytest.mark.slow
@pytest.mark.acceptance("RL7")
async def test_two_processes_decide_the_same_and_hold_the_percentages(database):
    users = 5_000  # 100 000 are counted in test_rollout
    with processes(database, 2) as both:
        for process in both:
            await process.started()
        percentages = (0, 1, 99, 100)
        async with connect(database) as db:
            for percent in percentages:
                await set_flag(db, f"f{percent}", enabled=True, rollout_percent=percent)
        found: list[int] = []
        for process in both:
            # The one that was set last.
            await process.tell(watch="f100", wanted=True)
        for percent in percentages:
            one, other = [await process.tell(decide=f"f{percent}", users=users) for process in both]
            assert one == other
            found.append(one["number"])
    assert (found[0], found[3]) == (0, users)
    assert abs(found[1] / users - 0.01) <= 0.005
    assert abs(found[2] / users - 0.99) <= 0.005


@pytest.mark.slow
@pytest.mark.acceptance("RL7")
async def test_two_processes_that_change_the_same_flags_lose_no_list(database):
    names, turns = [f"f{number}" for number in range(8)], 4
    with processes(database, 2) as both:
        for process in both:
            await process.started()
        sets = [
            [[name, {field: [f"{field}-{turn}"]}] for turn in range(turns) for name in names]
            for field in ("users", "workspaces")
        ]
        await asyncio.gather(*(process.tell(set=each) for process, each in zip(both, sets, strict=True)))
    async with connect(database) as db:
        for name in names:
            flag = await get_flag(db, name)
            assert (flag["users"], flag["workspaces"]) == ([f"users-{turns - 1}"], [f"workspaces-{turns - 1}"])
            history = await get_flag_history(db, name)
            assert [each["version"] for each in history] == list(range(1, 2 * turns + 1)), name
