"""Signing in by way of another service."""

from app_kernel.oauth.feature import create_feature

__all__ = ["create_feature"]
