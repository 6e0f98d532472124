"""Feature flags."""

from app_kernel.flags.feature import create_feature

__all__ = ["create_feature"]
