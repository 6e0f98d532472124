"""The cache that all processes of a service share, kept in Redis; imported only where Redis is configured.

Commands that wait at the same time travel together, in one round trip and in their order. A command is held up by a
quarter of a second at most. When Redis fails once, nobody asks it any more but a task of its own, which first tells it
what was taken away meanwhile: only then is it asked again.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Literal, NamedTuple

from redis.exceptions import NoScriptError

from app_kernel.cache.invalidations import Invalidation, Owed, OwedOne
from app_kernel.cache.patience import patience
from app_kernel.cache.script import CACHE
from app_kernel.cache.wire import Wire
from app_kernel.core.cancellation import cancel_task
from app_kernel.core.circuit_breaker import CircuitBreaker
from app_kernel.core.clock import new_id

OPERATION_SECONDS = 0.2
"""How long a batch of commands may take; one that waits behind another one takes twice that at most."""
CONNECT_SECONDS = 1.0
"""How long an answer may take for which nobody waits."""
PAUSE_SECONDS = 0.5
"""How long after a failure, and after each one more, Redis is asked again."""
LEASE_SECONDS = 5.0
"""How long others wait for a process that died while it computed a value; a living one renews its lease."""
BATCH = 100
SCANNED = 500
"""Keys of Redis that one command looks through for a pattern."""

_SHA = hashlib.sha1(CACHE.encode(), usedforsecurity=False).hexdigest()
_special = re.compile(r"([\\?\[\]*])")

Word = Literal["hit", "miss", "lease", "busy", "late", "done"]


class Answer(NamedTuple):
    """What Redis said, and what belongs to it: the bytes of a hit, or the token of a lease."""

    word: Word
    data: bytes = b""


class _Command:
    __slots__ = ("answers", "arguments", "key", "name", "owed", "token")

    def __init__(self, name: str, key: str, token: str, arguments: tuple[Any, ...]) -> None:
        self.name = name
        self.key = key
        self.token = token
        self.arguments = arguments
        self.answers: list[asyncio.Future[Answer | None]] = []
        self.owed: OwedOne | None = None


class SharedCache:
    """Asks Redis, of one event loop; `on_change(error)` hears when it goes away, and with None when it is back.

    Every command gives None when Redis is away. What `owed` remembers is told to Redis before anything else.
    """

    def __init__(self, redis: Any, prefix: str, owed: Owed, on_change: Callable[[Exception | None], None]) -> None:
        self._redis = redis
        self._wire = Wire(redis)
        self._prefix = prefix
        self._owed = owed
        self._on_change = on_change
        self._breaker = CircuitBreaker(self._failure, PAUSE_SECONDS, self._changed)
        self._process = new_id()
        self._tokens = 0
        self._waiting: list[_Command] = []
        self._alike: dict[tuple[Any, ...], _Command] = {}
        """Reads that wait, by what they ask; none from before a write that waits."""
        self._unanswered: set[str] = set()
        """Tokens of leases that may be given, but of which whoever asked has not heard yet."""
        self._sweeps: list[tuple[OwedOne, asyncio.Future[None]]] = []
        """Who waits for patterns to be gone."""
        self._sender: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer the last time."""
        return self._breaker.is_open or self._closed

    async def connect(self) -> None:
        """Asks Redis for the first time, and tells it what is owed."""
        failure = await self._failure()
        if failure is not None:
            self._give_up(failure)
        else:
            self._sweep()

    async def peek(self, key: str) -> Answer | None:
        """A hit or a miss."""
        return await self._read("peek", key, ())

    async def look(self, key: str, tags: tuple[str, ...]) -> Answer | None:
        """A hit, a lease for whoever is to compute the value, or busy with the token of whoever does."""
        return await self._read("look", key, (_milliseconds(LEASE_SECONDS), *_versions(tags)))

    async def take(self, key: str, tags: tuple[str, ...]) -> Answer | None:
        """A lease, whatever there is and whoever has one."""
        token = self._new_token()
        self._unanswered.add(token)
        return await self._write("take", key, token, (_milliseconds(LEASE_SECONDS), *_versions(tags)))

    def keep(self, key: str, token: str, data: bytes, seconds: float) -> "asyncio.Future[Answer | None]":
        """Done, or late when the lease is no longer this one, or what it was given for was taken away."""
        return self._write("keep", key, token, (data, _milliseconds(seconds)))

    def set(self, key: str, data: bytes, seconds: float, tags: tuple[str, ...]) -> "asyncio.Future[Answer | None]":
        """Done."""
        return self._write("set", key, None, (data, _milliseconds(seconds), *_versions(tags)))

    def renew(self, key: str, token: str) -> "asyncio.Future[Answer | None]":
        """Done, or late when there is no such lease any more."""
        return self._write("renew", key, token, (_milliseconds(LEASE_SECONDS),))

    def release(self, key: str, token: str) -> "asyncio.Future[Answer | None]":
        """Gives a lease back without a value."""
        return self._write("release", key, token, ())

    def frees(self, key: str, token: str) -> bool:
        """Gives a lease back that nobody has: of this process, and whoever asked for it left or was not answered."""
        if not token.startswith(f"{self._process}.") or token in self._unanswered:
            return False
        self.release(key, token)
        return True

    def tell(self, owed: OwedOne) -> "asyncio.Future[Any]":
        """Sends one that is owed, in its turn; done once Redis knows of it, or is away."""
        if owed[0].kind != "pattern":
            return self._post(self._command_for(owed))
        swept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.is_away:
            swept.set_result(None)
        else:
            self._sweeps.append((owed, swept))
            self._sweep()
        return swept

    async def close(self) -> None:
        """Sends what waits, as far as Redis takes it soon, and ends what it does by itself."""
        last = {task for task in (self._sender, self._sweeper) if task is not None}
        if last:
            await asyncio.wait(last, timeout=CONNECT_SECONDS)
        self._closed = True
        await cancel_task(self._sender)
        await cancel_task(self._sweeper)
        await self._breaker.end()
        await self._wire.close()
        self._tell_that_redis_is_away(self._waiting)

    async def _read(self, name: str, key: str, arguments: tuple[Any, ...]) -> Answer | None:
        if self.is_away:
            return None
        alike = (name, key, arguments)
        command = self._alike.get(alike)
        if command is not None:
            return await _add_reader(command)
        command = self._alike[alike] = _Command(name, key, self._new_token(), arguments)
        self._unanswered.add(command.token)
        return await self._post(command)

    def _write(
        self, name: str, key: str, token: str | None, arguments: tuple[Any, ...]
    ) -> "asyncio.Future[Answer | None]":
        # What is read after it is not to be answered as before it.
        self._alike.clear()
        return self._post(_Command(name, key, token or self._new_token(), arguments))

    def _new_token(self) -> str:
        self._tokens += 1
        return f"{self._process}.{self._tokens}"

    def _command_for(self, owed: OwedOne) -> _Command:
        kind, name = owed[0]
        self._alike.clear()
        if kind == "key":
            command = _Command("drop", name, self._new_token(), ())
        else:
            version = "#" if kind == "all" else f"t:{name}"
            command = _Command("outdate", "", self._new_token(), (version,))
        command.owed = owed
        return command

    def _post(self, command: _Command) -> "asyncio.Future[Answer | None]":
        answer = _add_reader(command)
        if self.is_away:
            answer.set_result(None)
            self._alike.clear()
            return answer
        self._waiting.append(command)
        if self._sender is None:
            # Not in the name of the request that happened to be the first.
            self._sender = asyncio.create_task(self._send(), context=Context())
        return answer

    async def _send(self) -> None:
        batch: list[_Command] = []
        try:
            while self._waiting:
                self._alike.clear()
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                self._settle(batch, await self._ask(batch, OPERATION_SECONDS))
        except Exception as exc:  # noqa: BLE001 - whatever its client raises, no request fails for it
            self._give_up(exc)
        finally:
            self._sender = None
            self._tell_that_redis_is_away([*batch, *self._waiting])

    def _settle(self, batch: Sequence[_Command], told: Sequence[Answer]) -> None:
        for command, answer in zip(batch, told, strict=True):
            if command.owed is not None:
                self._owed.settle(*command.owed)
            given = answer
            for waiting in command.answers:
                if waiting.done():  # whoever waited has left
                    continue
                waiting.set_result(given)
                if given.word == "lease":
                    given = Answer("busy", given.data)
            if given.word == "lease":
                self.release(command.key, command.token)
            self._answered(command)

    def _tell_that_redis_is_away(self, commands: Sequence[_Command]) -> None:
        self._waiting = []
        self._alike.clear()
        for command in commands:
            for waiting in command.answers:
                if not waiting.done():
                    waiting.set_result(None)
            self._answered(command)

    def _answered(self, command: _Command) -> None:
        if command.token in self._unanswered:
            # Behind whoever was just woken up, and knows then that the lease is theirs.
            asyncio.get_running_loop().call_soon(self._unanswered.discard, command.token)

    def _give_up(self, error: Exception) -> None:
        if not self._closed:
            self._breaker.trip(error)

    def _changed(self, error: Exception | None) -> None:
        self._on_change(error)
        if error is None:
            # What came up during the last look; whoever reads from here on goes behind it.
            for owed in self._owed.quick():
                self.tell(owed)
            self._sweep()

    async def _failure(self) -> Exception | None:
        """Why Redis does not take what is owed to it, or a probe; None when it does."""
        commands = [self._command_for(owed) for owed in self._owed.quick()]
        probe = _Command("set", "", self._new_token(), (b"", 1000))
        try:
            # A new connection has more to say; what comes then shows whether Redis is quick enough for those who wait.
            for at in range(0, len(commands) + 1, BATCH):
                part = commands[at : at + BATCH] or [probe]
                self._settle(part, await self._ask(part, CONNECT_SECONDS))
            await self._ask([probe], OPERATION_SECONDS)
        except Exception as exc:  # noqa: BLE001 - as above
            return exc
        return None

    def _sweep(self) -> None:
        if self._sweeper is None and self._owed.patterns() and not self.is_away:
            self._sweeper = asyncio.create_task(self._take_patterns_away(), context=Context())

    async def _take_patterns_away(self) -> None:
        try:
            while not self.is_away and (owed := self._owed.patterns()):
                # What is being computed meanwhile is not kept, so that nothing comes up behind the scan.
                epoch = _Command("outdate", "", self._new_token(), ("*",))
                if await self._post(epoch) is None:
                    return
                await self._unlink(owed[0][0].name)
                self._owed.settle(*owed[0])
                self._tell_who_waits_for(*owed[0])
        except Exception as exc:  # noqa: BLE001 - as above
            self._give_up(exc)
        finally:
            self._sweeper = None
            for _, swept in self._sweeps:
                if not swept.done():
                    swept.set_result(None)
            self._sweeps.clear()

    def _tell_who_waits_for(self, pattern: Invalidation, number: int) -> None:
        for (other, last), swept in self._sweeps:
            if other == pattern and last <= number and not swept.done():
                swept.set_result(None)

    async def _unlink(self, pattern: str) -> None:
        start = _special.sub(r"\\\1", self._prefix + "e:")
        glob = start + "*".join(_special.sub(r"\\\1", part) for part in pattern.split("*"))
        cursor = 0
        while True:
            async with patience(OPERATION_SECONDS):
                cursor, keys = await self._redis.scan(cursor, match=glob, count=SCANNED)
                if keys:
                    await self._redis.unlink(*keys)
            if not cursor:
                return

    async def _ask(self, commands: Sequence[_Command], seconds: float) -> list[Answer]:
        """What Redis says to each; raises what its client raises, or TimeoutError."""
        async with patience(seconds):
            told = await self._evaluate(commands, "EVALSHA", _SHA)
            unknown = [at for at, reply in enumerate(told) if isinstance(reply, NoScriptError)]
            if unknown:
                # Redis has started anew.
                again = await self._evaluate([commands[at] for at in unknown], "EVAL", CACHE)
                for at, reply in zip(unknown, again, strict=True):
                    told[at] = reply
        for reply in told:
            if isinstance(reply, Exception):
                raise reply
        return [Answer(reply[0].decode(), *reply[1:]) for reply in told]

    async def _evaluate(self, commands: Sequence[_Command], verb: str, script: str) -> list[Any]:
        lines = [
            (
                verb, script, 2, f"{self._prefix}e:{each.key}", f"{self._prefix}l:{each.key}",
                each.name, self._prefix, each.token, *each.arguments,
            )
            for each in commands
        ]  # fmt: skip
        return await self._wire.ask(lines)


def _add_reader(command: _Command) -> "asyncio.Future[Answer | None]":
    answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
    command.answers.append(answer)
    return answer


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _versions(tags: tuple[str, ...]) -> tuple[str, ...]:
    return ("#", *(f"t:{tag}" for tag in tags))
