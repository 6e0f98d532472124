"""Workspaces with members, roles and invites."""

from app_kernel.saas.feature import create_feature

__all__ = ["create_feature"]
