"""How long and how often a run measures; one value that every group receives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Bounds of one run; seconds are of each measured window, after its warm-up."""

    rounds: int = 5
    http_seconds: float = 1.2
    http_warm_up: float = 0.3
    store_seconds: float = 0.35
    workspaces: int = 20
    batch: int = 200
    batches: int = 5
    starts: int = 5
    growth_seconds: float = 0.35
    growth: tuple[int, int] = (10_000, 1_000_000)
    jobs: int = 10_000
    jobs_one_by_one: int = 1500
    pings: int = 300
    quick: bool = False


def full(rounds: int | None = None) -> Settings:
    """The run whose figures are quoted: at least five rounds unless the caller says otherwise."""
    return Settings(rounds=rounds or 5, starts=max(rounds or 5, 5))


def quick(rounds: int | None = None) -> Settings:
    """A look; its figures show an order of magnitude and nothing finer."""
    return Settings(
        rounds=rounds or 2,
        http_seconds=0.25,
        http_warm_up=0.05,
        store_seconds=0.05,
        workspaces=4,
        batch=100,
        batches=3,
        starts=2,
        growth_seconds=0.15,
        growth=(10_000, 100_000),
        jobs=2500,
        jobs_one_by_one=500,
        pings=100,
        quick=True,
    )
