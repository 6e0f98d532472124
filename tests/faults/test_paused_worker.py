"""A worker that stood still while its jobs were given to another one changes nothing of what that one does."""

import signal
import time

import pytest

from tests.faults.job_fleet import HURRY, JobFleet


@pytest.mark.slow
@pytest.mark.acceptance("JB7")
async def test_what_a_paused_worker_does_of_a_job_that_another_one_took_over_does_not_count(fleet: JobFleet) -> None:
    """One job ends in the moment in which the first worker wakes up, the handler of the other one still runs then."""
    first, other = fleet.start(), fleet.start()
    await fleet.started()
    other.send(signal.SIGSTOP)
    await fleet.enqueue("ends", seconds=[2, 0.1])
    await fleet.enqueue("runs", seconds=[600, 0.1])
    await fleet.wait_for(lambda: fleet.ledger.read().starts.keys() >= {"ends", "runs"}, "their start")
    other.send(signal.SIGCONT)
    first.send(signal.SIGSTOP)
    paused = time.monotonic()
    await fleet.ended("ends", "runs", seconds=20)
    await fleet.settled()
    rescued = time.monotonic() - paused
    assert rescued > 5 * HURRY / 2, "it was rescued before its beats had stood still in five looks"
    before = {id: await fleet.client.get(id) for id in ("ends", "runs")}
    first.send(signal.SIGCONT)
    await fleet.wait_for(lambda: len(first.events("job_lost")) == 2, "the word of the first worker", 20)
    assert {line["job_id"] for line in first.events("job_lost")} == {"ends", "runs"}
    await fleet.wait_for(lambda: fleet.ledger.read().count("cancelled", "runs") == 1, "the end of the handler", 5)
    for id, kept in before.items():
        assert kept is not None
        assert kept.result == {"attempt": 2, "pid": other.pid}
        assert await fleet.client.get(id) == kept
    assert [line["pid"] for line in fleet.ledger.starts["runs"]] == [first.pid, other.pid]
    # It works on as if nothing had been.
    fleet.kill(other)
    await fleet.enqueue("next")
    await fleet.ended("next")
    assert fleet.ledger.starts["next"][0]["pid"] == first.pid
