"""`cache`: the cache of the running service, asked for by whoever needs it."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from app_kernel.cache.invalidations import ALL, Invalidation
from app_kernel.cache.keys import check_jitter, check_key, check_pattern, check_tags, check_ttl
from app_kernel.cache.service import MISSING, ServiceCache, Wanted
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import CacheError
from app_kernel.core.feature import left_out

Ttl = float | timedelta
"""Seconds or a timedelta, above 0 and at most 30 days."""


def current_cache() -> ServiceCache:
    """The cache of the running service.

    Raises NoRunningKernel outside of one, AmbiguousKernel in several, and CacheError in one without a cache.
    """
    found = current_kernel().find_port(ServiceCache)
    if found is None:
        raise CacheError(left_out("cache"))
    return found


class Cache:
    """Values by key, in Redis or else in memory; each has an end, and a reader gets a copy of its own.

    Values are JSON: None, bool, int, float, str, lists and dicts of those. In a transaction what changes the cache does
    so once it has committed, and not at all if it does not; from then until its end, it finds nothing in the cache. No
    verb fails as Redis is away. Keys, patterns, tags and times to live that make no sense raise InvalidCacheKey.
    """

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; `default` when there is none. None is a value."""
        found = await current_cache().get(check_key(key))
        return default if found is MISSING else found

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those keys that have one, in one round trip."""
        wanted = [check_key(key) for key in keys]
        found = zip(wanted, await current_cache().get_many(wanted), strict=True)
        return {key: value for key, value in found if value is not MISSING}

    async def set(self, key: str, value: Any, ttl: Ttl, *, tags: Iterable[str] = ()) -> None:
        """Keeps a value for `ttl`, whatever there was before.

        Raises UncacheableValue for what JSON does not give back as it was, such as a tuple or a datetime, and above
        1 MiB. What was read before somebody else changed it is set all the same: see `get_or_set`.
        """
        await current_cache().set_many({check_key(key): value}, check_ttl(ttl), check_tags(tags))

    async def set_many(self, values: Mapping[str, Any], ttl: Ttl, *, tags: Iterable[str] = ()) -> None:
        """Keeps several values, in one round trip; see `set`. None of them is kept when one is refused."""
        checked = {check_key(key): value for key, value in values.items()}
        await current_cache().set_many(checked, check_ttl(ttl), check_tags(tags))

    async def get_or_set(
        self, key: str, factory: Callable[[], Any], ttl: Ttl, *, tags: Iterable[str] = (), jitter: float = 0.0
    ) -> Any:
        """The value of a key, else what `factory()`, plain or async, gives, which is then kept for `ttl`.

        It is computed once for all who ask at the same time, in all processes. What was computed while the key was
        taken away is given to those who asked before and not kept. In a transaction it is not kept either. Above 1 MiB
        it is given and not kept. `jitter` is the part of `ttl` that chance may take off it. Raises what the factory
        raises, and UncacheableValue.
        """
        name = check_key(key)
        wanted = Wanted(name, "", check_ttl(ttl), check_tags(tags), check_jitter(jitter), factory, name)
        return await current_cache().get_or_compute(wanted)

    async def delete(self, *keys: str) -> None:
        """Takes the values of these keys away."""
        await current_cache().invalidate([Invalidation("key", check_key(key)) for key in keys])

    async def delete_pattern(self, pattern: str) -> None:
        """Takes the values of all keys away that fit a pattern, such as `projects:*`: `*` is any text, also none.

        Redis looks through all its keys for that; `delete_tags` is one short command. Put ids through `escape_key`.
        """
        await current_cache().invalidate([Invalidation("pattern", check_pattern(pattern))])

    async def delete_tags(self, *tags: str) -> None:
        """Takes all values away that have one of these tags."""
        await current_cache().invalidate([Invalidation("tag", tag) for tag in check_tags(tags)])

    async def clear(self) -> None:
        """Takes away everything that this service has cached."""
        await current_cache().invalidate([ALL])


cache = Cache()
"""The cache of the running service."""
