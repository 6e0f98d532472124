"""A write that is sent twice takes effect once."""

from app_kernel.idempotency.feature import create_feature

__all__ = ["create_feature"]
