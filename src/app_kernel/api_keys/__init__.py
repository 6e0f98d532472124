"""Keys with which programs call."""

from app_kernel.api_keys.feature import create_feature

__all__ = ["create_feature"]
