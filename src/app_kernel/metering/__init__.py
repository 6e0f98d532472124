"""Usage metering: requests and custom metrics by workspace, user and period, for billing and quotas."""

from app_kernel.metering.feature import create_feature

__all__ = ["create_feature"]
