"""Mail to users."""

from app_kernel.mail.feature import create_feature

__all__ = ["create_feature"]
