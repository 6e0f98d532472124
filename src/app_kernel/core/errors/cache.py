"""What cannot be cached."""

from app_kernel.core.errors.base import KernelError


class CacheError(KernelError):
    """The cache cannot be used as asked."""


class InvalidCacheKey(CacheError, ValueError):
    """A key, a pattern, a tag, a time to live or a template that the cache cannot work with."""


class UncacheableValue(CacheError, TypeError):
    """A value that JSON cannot give back as it was."""
