"""A cache."""

from app_kernel.cache.feature import create_feature

__all__ = ["create_feature"]
