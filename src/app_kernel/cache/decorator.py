"""`@cached`: what an async function gives is kept, under a key made of its arguments."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, ParamSpec, TypeVar

from app_kernel.cache.ambient import Ttl, current_cache
from app_kernel.cache.invalidations import Invalidation
from app_kernel.cache.keys import check_jitter, check_tags, check_ttl, shortened
from app_kernel.cache.service import Wanted
from app_kernel.cache.templates import CallSignature, Template, check_all_named
from app_kernel.core.errors import CacheError

P = ParamSpec("P")
R = TypeVar("R")


class CachedFunction(Generic[P, R]):
    """A function whose results are kept; made by `cached`, and called as the function itself.

    As a method it is bound to its object as any other one: `await repository.find.invalidate("w1")`.
    """

    def __init__(self, function: Callable[P, Awaitable[R]], options: "_Options", owner: tuple[Any, ...] = ()) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        self._owner = owner

    def __get__(self, instance: Any, owner: type | None = None) -> "CachedFunction[..., R]":
        return self if instance is None else CachedFunction(self._function, self._options, (instance,))

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        found: R = await current_cache().get_or_compute(self._wanted(args, kwargs, anew=False))
        return found

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Computes the value anew and keeps it; until then the old one is found. In a transaction see `invalidate`."""
        found: R = await current_cache().get_or_compute(self._wanted(args, kwargs, anew=True))
        return found

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Takes away what is kept for these arguments; in a transaction, once it has committed.

        Arguments that the key does not name (`ignore`) may be left out.
        """
        await current_cache().invalidate([Invalidation("key", self.key(*args, **kwargs))])

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""
        given = (*self._owner, *args)
        self._options.signature.check_partly(given, kwargs)
        return self._options.key.render(given, kwargs)[0]

    def _wanted(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, anew: bool) -> Wanted:
        options, args = self._options, (*self._owner, *args)
        options.signature.check(args, kwargs)
        key, shape = options.key.render(args, kwargs)
        # Two of them may be the same for some ids.
        tags = tuple(dict.fromkeys([tag.render(args, kwargs)[0] for tag in options.tags])) if options.tags else ()
        compute = functools.partial(self._function, *args, **kwargs)
        return Wanted(key, shape, options.seconds, tags, options.jitter, compute, options.name, anew)


class _Options:
    """What the decorator was given, checked."""

    def __init__(
        self, function: Any, key: str, ttl: Ttl, tags: Iterable[str], jitter: float, ignore: Iterable[str]
    ) -> None:
        self.signature = CallSignature(function)
        self.key = Template(key, self.signature)
        check_all_named(self.key, self.signature, ignore)
        self.seconds = check_ttl(ttl)
        self.tags = tuple(Template(tag, self.signature) for tag in check_tags(tags))
        self.jitter = check_jitter(jitter)
        self.name = f"{function.__qualname__}, cached as {shortened(key)}"


def cached(
    *, ttl: Ttl, key: str, tags: Iterable[str] = (), jitter: float = 0.0, ignore: Iterable[str] = ()
) -> Callable[[Callable[P, Awaitable[R]]], CachedFunction[P, R]]:
    """Keeps what an async function gives for `ttl`, under a key such as `projects:{workspace_id}`.

    Fields of the key and of the tags name arguments, or attributes of them as in `{user.id}`; an id in them can neither
    make two different keys the same nor be a wildcard. The key names every argument but `self`, `cls` and those in
    `ignore`, which make no difference to the result, such as a handle of the database. Results, transactions and
    computing once are as with `cache.get_or_set`. Raises InvalidCacheKey for a field that is no argument, an argument
    that the key leaves out, two fields without a `:` between them, and a `ttl` that makes no sense; CacheError for a
    function that is not async.
    """

    def decorate(function: Callable[P, Awaitable[R]]) -> CachedFunction[P, R]:
        if not inspect.iscoroutinefunction(function):
            name = getattr(function, "__qualname__", repr(function))
            raise CacheError(f"{name}: @cached needs an `async def`, as a plain function cannot wait for Redis.")
        return CachedFunction(function, _Options(function, key, ttl, tags, jitter, ignore))

    return decorate
