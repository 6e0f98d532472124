"""Webhooks."""

from app_kernel.webhooks.feature import create_feature

__all__ = ["create_feature"]
