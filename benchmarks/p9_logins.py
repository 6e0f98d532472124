"""P9: logins at OWASP's cost while other requests run, the server on one core."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import kernel_side
from benchmarks.harness import BenchError, Server, child, request, scratch
from benchmarks.report import Goal, Group, Row
from benchmarks.settings import Settings

LOGIN_CLIENTS = 8
"""Each with an account of its own, so that no attempt waits for another one's turn."""
OTHERS_PER_SECOND = 200
LOGINS_GOAL, P99_GOAL = 30.0, 50.0


def run(settings: Settings) -> Group:
    """Logins a second, and how long a signed-in user waits meanwhile."""
    group = Group("P9", "logins while other requests run, server on one core")
    seconds = 1.0 if settings.quick else 6.0
    with scratch() as folder:
        env = kernel_side.kernel_environment(folder / "kernel")
        with Server("benchmarks.peers.small_kernel:app", folder / "kernel", env) as server:
            emails = [f"login{number}@example.com" for number in range(LOGIN_CLIENTS)]
            tokens = [kernel_side.sign_up(server.port, email) for email in emails]
            _require_login(server.port, emails[0])
            spec = {
                "port": server.port,
                "token": tokens[0],
                "emails": emails,
                "password": kernel_side.PASSWORD,
                "per_second": OTHERS_PER_SECOND,
                "seconds": seconds,
            }
            rounds = [_round(spec, folder) for _ in range(settings.rounds)]
    _add_rows(group, rounds)
    group.raw["rounds"] = rounds
    group.notes.append(
        f"{LOGIN_CLIENTS} clients sign in one by one while {OTHERS_PER_SECOND} requests a second of a signed-in"
        " user arrive; argon2id at m=19456 KiB, t=2, p=1. The peer is the hash alone, on the client's core,"
        " after each window."
    )
    return group


def _require_login(port: int, email: str) -> None:
    status, _ = request(port, "POST", "/auth/login", body={"email": email, "password": kernel_side.PASSWORD})
    if status != 200:
        raise BenchError(f"a login answered {status}")


def _round(spec: dict[str, Any], folder: Path) -> dict[str, float]:
    found: dict[str, float] = child("benchmarks.p9_child", spec, folder / "load", limit=spec["seconds"] + 30, core=1)
    return found


def _add_rows(group: Group, rounds: list[dict[str, float]]) -> None:
    logins = median([each["logins_per_second"] for each in rounds])
    waits = median([each["others_p99_ms"] for each in rounds])
    alone = median([each["hashes_per_second"] for each in rounds])
    rows = (
        ("logins, one core", "/s", logins, "argon2 alone", alone, None),
        ("logins, one core", "/s", logins, "the goal", LOGINS_GOAL, Goal(">=", 1.0)),
        ("p99 of the other requests", "ms", waits, "the goal", P99_GOAL, Goal("<=", 1.0)),
    )
    for figure, unit, ours, peer, theirs, goal in rows:
        group.rows.append(Row(figure=figure, unit=unit, ours=ours, peer=peer, theirs=theirs, goal=goal))
