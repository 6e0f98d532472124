"""Figures of requests by route: how many, how many failed, how long they took; over all processes, for weeks.

    for row in await get_request_stats(admin_db, app="my_app", sort="errors"):
        print(row["method"], row["route"], row["count"], row["error_rate"], row["p95_ms"])

A process counts in memory and writes every ten seconds; one that is killed loses what it counted since.
"""

from app_kernel.stats.feature import create_feature
from app_kernel.stats.reading import Sort, get_request_stats, list_apps

__all__ = ["Sort", "create_feature", "get_request_stats", "list_apps"]
