"""The audit log: who changed what, when, from where and why, in the same commit as the change."""

from app_kernel.audit.feature import create_feature

__all__ = ["create_feature"]
