"""How often one caller may call."""

from app_kernel.rate_limit.feature import create_feature

__all__ = ["create_feature"]
