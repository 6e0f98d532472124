"""The cache of one service: Redis where there is one, the memory of this process where there is none or it is away."""

import asyncio
import inspect
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app_kernel.cache.flights import Flight, Flights
from app_kernel.cache.invalidations import Invalidation, Owed
from app_kernel.cache.memory import MemoryCache
from app_kernel.cache.transactions import is_dirty, open_transactions, when_committed
from app_kernel.cache.values import MOST_BYTES, decode, encode
from app_kernel.core.errors import UncacheableValue
from app_kernel.core.events import CachesUsed
from app_kernel.core.kernel import Kernel
from app_kernel.logs import get_logger

if TYPE_CHECKING:
    from app_kernel.cache.shared import Answer, SharedCache

AWAY_SECONDS = 5.0
"""How long a value is kept in memory at most while Redis is away, as other processes cannot take it away then."""
RENEW_SECONDS = 1.5
"""How often a computation that takes long says to Redis that it is alive."""
WAIT_SECONDS = 10.0
"""How long a computation of another process is waited for."""
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.1
TELL_SECONDS = 1.0

MISSING: Any = object()
"""What stands for no value, as None is one."""

_log = get_logger("app_kernel.cache")


@dataclass(slots=True)
class Wanted:
    """A value that is computed if it is not there."""

    key: str
    shape: str
    """The types of the ids in the key, so that 1 and "1" do not get each other's value."""
    seconds: float
    tags: tuple[str, ...]
    jitter: float
    factory: Callable[[], Any]
    name: str
    """What errors call it: never more than what the code says itself."""
    anew: bool = False
    """Whether it is computed although it is there."""


class ServiceCache:
    """What `cache` and `cached` stand on; keys and the like were checked before."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._memory = MemoryCache(kernel.config.cache_entries)
        self._flights = Flights()
        self._owed = Owed()
        self._shared: SharedCache | None = None
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._told_of: set[str] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """For the time of the block values are kept in the service's Redis, where it has one."""
        self._memory.clear()
        if self._kernel.redis is not None:
            # Redis need not be installed where it is not used.
            from app_kernel.cache.shared import SharedCache  # noqa: PLC0415

            prefix = f"{self._kernel.name}:cache:"
            self._shared = SharedCache(self._kernel.redis, prefix, self._owed, self._redis_changed)
            await self._shared.connect()
        telling = asyncio.create_task(self._tell_regularly()) if self._kernel.hears(CachesUsed) else None
        try:
            yield
        finally:
            await self._flights.end()
            if telling is not None:
                telling.cancel()
                await asyncio.wait((telling,))
            if self._shared is not None:
                await self._shared.close()
                self._shared = None
            await self.tell()

    async def get(self, key: str, shape: str | None = None) -> Any:
        """The value of a key, or MISSING, as for ids of other types than those of `shape`."""
        transactions = open_transactions()
        if transactions and is_dirty(transactions):
            self._count("get", "miss", "none")
            return MISSING
        shared = self._asks_redis()
        if shared is not None:
            answer = None if self._owed.covers(key) else await shared.peek(key)
            if answer is not None or not shared.is_away:
                value = MISSING if answer is None else self._read(key, answer, shape)
                self._count("get", "miss" if value is MISSING else "hit", "redis")
                return value
        data = self._memory.get(key)
        value = MISSING if data is None else _unpacked(data, shape)
        self._count("get", "miss" if value is MISSING else "hit", "memory")
        return value

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        """The values of keys, or MISSING, in one round trip."""
        return list(await asyncio.gather(*map(self.get, keys)))

    async def set_many(self, values: Mapping[str, Any], seconds: float, tags: tuple[str, ...]) -> None:
        """Keeps values, all of them or none; in a transaction, once it has committed. Raises UncacheableValue."""
        packed = [(key, _checked(key, value)) for key, value in values.items()]
        answers: list[asyncio.Future[Answer | None]] = []

        def act() -> None:
            for key, data in packed:
                self._set(key, data, seconds, tags, answers)

        if when_committed(act, last=True) and answers:
            await asyncio.wait(answers)

    async def invalidate(self, invalidations: Sequence[Invalidation]) -> None:
        """Takes values away; in a transaction, once it has committed, and until then it does not see them."""
        if not invalidations:
            return

        answers: list[asyncio.Future[Any]] = []

        def act() -> None:
            for invalidation in invalidations:
                self._take_away(invalidation, answers)

        if when_committed(act) and answers:
            await asyncio.wait(answers)

    async def get_or_compute(self, wanted: Wanted) -> Any:
        """The value that is there, or what the factory makes of it, once for all who want it at the same time.

        Raises what the factory raises, and UncacheableValue.
        """
        transactions = open_transactions()
        if transactions:
            return await self._in_transaction(wanted, dirty=is_dirty(transactions))
        shared = self._asks_redis()
        return await (self._from_memory(wanted) if shared is None else self._from_redis(shared, wanted))

    async def tell(self) -> None:
        """Emits what was counted since the last time."""
        if self._counts:
            counts, self._counts = self._counts, Counter()
            await self._kernel.emit(CachesUsed(dict(counts), len(self._memory)))

    @property
    def _has_redis(self) -> bool:
        """Also before it is connected, while the service starts."""
        return self._kernel.connect_redis is not None

    def _asks_redis(self) -> "SharedCache | None":
        shared = self._shared
        return None if shared is None or shared.is_away else shared

    def _read(self, key: str, answer: "Answer", shape: str | None) -> Any:
        if answer.word != "hit":
            return MISSING
        try:
            return _unpacked(answer.data, shape)
        except ValueError:
            # Something else has written it.
            self._count("get", "error", "redis")
            self._take_away(Invalidation("key", key))
            return MISSING

    async def _in_transaction(self, wanted: Wanted, *, dirty: bool) -> Any:
        """What was computed in a transaction may never be committed, so nobody else gets it."""
        if wanted.anew:
            await self.invalidate([Invalidation("key", wanted.key)])
        elif not dirty:
            value = await self.get(wanted.key, wanted.shape)
            if value is not MISSING:
                return value
        return await self._computed(wanted)

    async def _from_memory(self, wanted: Wanted) -> Any:
        data = None if wanted.anew else self._memory.get(wanted.key)
        value = MISSING if data is None else _unpacked(data, wanted.shape)
        self._count("get", "miss" if value is MISSING else "hit", "memory")
        if value is not MISSING:
            return value
        flight = None if wanted.anew else self._flights.find(wanted.key)
        if flight is None:
            flight = started = Flight(wanted.key, wanted.shape, wanted.tags, None)
            self._flights.start(flight, lambda: self._compute_for_memory(started, wanted))
        return await self._joined(flight, wanted)

    async def _from_redis(self, shared: "SharedCache", wanted: Wanted) -> Any:
        loop = asyncio.get_running_loop()
        until, pause, counted = loop.time() + WAIT_SECONDS, FIRST_PAUSE, False
        while loop.time() < until and not self._owed.covers(wanted.key):
            answer = await (shared.take if wanted.anew else shared.look)(wanted.key, wanted.tags)
            if answer is None:
                return await self._from_memory(wanted)
            value = self._read(wanted.key, answer, wanted.shape)
            if not counted:
                counted = True
                self._count("get", "miss" if value is MISSING else "hit", "redis")
            if value is not MISSING:
                return value
            if answer.word == "hit":
                # Of ids of other types, or written by something else, which is taken away by now.
                break
            flight = self._flight_of(shared, answer, wanted)
            if flight is not None:
                return await self._joined(flight, wanted)
            if shared.frees(wanted.key, answer.data.decode()):
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
        return await self._computed(wanted)

    def _flight_of(self, shared: "SharedCache", answer: "Answer", wanted: Wanted) -> Flight | None:
        """The computation that has the lease; None when it is another process's."""
        token = answer.data.decode()
        if answer.word == "lease":
            flight = Flight(wanted.key, wanted.shape, wanted.tags, token)
            return self._flights.start(flight, lambda: self._compute_for_redis(shared, flight, token, wanted))
        found = self._flights.find(wanted.key)
        return found if found is not None and found.token == token else None

    async def _joined(self, flight: Flight, wanted: Wanted) -> Any:
        data = await self._flights.join(flight) if flight.shape == wanted.shape else None
        return await self._computed(wanted) if data is None else _unpacked(data, wanted.shape)

    async def _computed(self, wanted: Wanted) -> Any:
        """The value for this caller alone."""
        return _unpacked(await self._compute(wanted), wanted.shape)

    async def _compute(self, wanted: Wanted) -> bytes:
        value = wanted.factory()
        if inspect.isawaitable(value):
            value = await value
        try:
            return _packed(wanted.shape, encode(value))
        except UncacheableValue as exc:
            raise UncacheableValue(f"{wanted.name}: {exc.message}") from exc

    async def _compute_for_memory(self, flight: Flight, wanted: Wanted) -> bytes:
        if wanted.anew:
            # What Redis has is older, and Redis may be back before this ends.
            self._owe(Invalidation("key", wanted.key))
        data = await self._compute(wanted)
        if flight.is_void:
            return data
        if self._has_room_for(data, wanted):
            self._set_in_memory(wanted.key, data, _shortened(wanted), wanted.tags)
        else:
            self._memory.drop(Invalidation("key", wanted.key))
        return data

    async def _compute_for_redis(self, shared: "SharedCache", flight: Flight, token: str, wanted: Wanted) -> bytes:
        self._renew_later(shared, flight, token)
        try:
            data = await self._compute(wanted)
        except BaseException:
            shared.release(wanted.key, token)
            raise
        if flight.is_void or not self._has_room_for(data, wanted):
            shared.release(wanted.key, token)
            kept = flight.is_void
        else:
            answer = await shared.keep(wanted.key, token, data, _shortened(wanted))
            kept = answer is not None and answer.word == "done"
            self._count("set", "error" if answer is None else answer.word, "redis")
        if wanted.anew and not kept:
            # What is there is older than this.
            self._owe(Invalidation("key", wanted.key))
        return data

    def _renew_later(self, shared: "SharedCache", flight: Flight, token: str) -> None:
        def renew() -> None:
            shared.renew(flight.key, token)
            self._renew_later(shared, flight, token)

        flight.alarm = asyncio.get_running_loop().call_later(RENEW_SECONDS, renew)

    def _has_room_for(self, data: bytes, wanted: Wanted) -> bool:
        if len(data) <= MOST_BYTES:
            return True
        self._count("set", "too_large", "none")
        if wanted.name not in self._told_of and len(self._told_of) < 1000:
            self._told_of.add(wanted.name)
            _log.warning("cache_value_too_large", value=wanted.name, bytes=len(data), most=MOST_BYTES)
        return False

    def _set(
        self, key: str, data: bytes, seconds: float, tags: tuple[str, ...], answers: "list[asyncio.Future[Any]]"
    ) -> None:
        self._flights.drop(Invalidation("key", key))
        shared = self._asks_redis()
        if shared is None:
            self._set_in_memory(key, data, seconds, tags)
            self._owe(Invalidation("key", key))
            return

        def answered(answer: "asyncio.Future[Answer | None]") -> None:
            done = not answer.cancelled() and answer.result() is not None
            self._count("set", "done" if done else "error", "redis")
            if not done:
                # It may have arrived or not: what Redis has is not to be believed.
                self._set_in_memory(key, data, seconds, tags)
                self._owe(Invalidation("key", key))

        answers.append(shared.set(key, data, seconds, tags))
        answers[-1].add_done_callback(answered)

    def _set_in_memory(self, key: str, data: bytes, seconds: float, tags: tuple[str, ...]) -> None:
        self._memory.set(key, data, min(seconds, AWAY_SECONDS) if self._has_redis else seconds, tags)
        self._count("set", "done", "memory")

    def _take_away(self, invalidation: Invalidation, answers: "list[asyncio.Future[Any]] | None" = None) -> None:
        self._flights.drop(invalidation)
        self._memory.drop(invalidation)
        self._count("delete", "done", "memory" if self._asks_redis() is None else "redis")
        told = self._owe(invalidation)
        if told is not None and answers is not None:
            answers.append(told)

    def _owe(self, invalidation: Invalidation) -> "asyncio.Future[Any] | None":
        """Redis is to hear of it, now or when it is back; done once it has, or is away."""
        if not self._has_redis:
            return None
        owed = self._owed.add(invalidation)
        return None if self._shared is None else self._shared.tell(owed)

    def _redis_changed(self, error: Exception | None) -> None:
        # Neither what was kept before an outage nor what was during it is any of the next one's.
        self._memory.clear()
        if error is None:
            _log.info("cache_shared_again")
        else:
            self._count("outage", "error", "redis")
            _log.warning("cache_falls_back_to_memory", error=type(error).__name__, reason=str(error))
        for flight in self._flights:
            if flight.token is None:
                flight.is_void = True

    def _count(self, operation: str, outcome: str, backend: str) -> None:
        self._counts[operation, outcome, backend] += 1

    async def _tell_regularly(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self.tell()


def _shortened(wanted: Wanted) -> float:
    if not wanted.jitter:
        return wanted.seconds
    return wanted.seconds * (1 - wanted.jitter * random.random())  # noqa: S311 - it spreads ends and guards nothing


def _checked(key: str, value: Any) -> bytes:
    try:
        data = _packed("", encode(value))
    except UncacheableValue as exc:
        raise UncacheableValue(f"{key}: {exc.message}") from exc
    if len(data) > MOST_BYTES:
        raise UncacheableValue(f"{key}: the value has {len(data)} bytes as JSON; the most is {MOST_BYTES}.")
    return data


def _packed(shape: str, data: bytes) -> bytes:
    """The bytes that are kept; JSON has no line break in it."""
    return b"%s\n%s" % (shape.encode(), data)


def _unpacked(packed: bytes, shape: str | None) -> Any:
    """A new copy of the value; MISSING when it is that of ids of other types. Raises ValueError for other bytes."""
    start = packed.find(b"\n")
    if start < 0:
        raise ValueError("no cached value")
    if shape is not None and packed[:start] != shape.encode():
        return MISSING
    return decode(memoryview(packed)[start + 1 :])
