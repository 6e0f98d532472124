"""Figures of requests by route: how many, how many failed, how long they took; over all processes, for weeks."""

from app_kernel.stats.feature import create_feature

__all__ = ["create_feature"]
