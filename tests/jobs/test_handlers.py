"""How a handler is called, whatever its parameters look like."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Annotated, Any, Optional

import pytest
from pydantic import BaseModel, Field

from app_kernel import DoNotRetry, JobContext, JobRegistry, get_job_client
from app_kernel.jobs.handlers import Call
from app_kernel.testing import kernel_client
from tests.jobs import postponed
from tests.small_service import small_app

CTX = JobContext(job_id="j1", task_name="t")
PAYLOAD = {"task_id": "7", "count": 3}


class Order(BaseModel):
    """A payload as pydantic describes it."""

    task_id: str
    count: int = Field(ge=0)


@dataclass
class Parcel:
    """A payload as a dataclass describes it."""

    task_id: str
    count: int = 0


def got(handler: Callable[..., Any], payload: Any = PAYLOAD) -> Any:
    """What a handler that returns its arguments was given."""
    call = Call(handler)
    result = call.bind(payload, CTX)()
    assert call.is_async == inspect.iscoroutine(result)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


async def both(payload: dict, ctx: JobContext) -> Any:
    return payload, ctx


async def turned(ctx: JobContext, payload: dict[str, Any]) -> Any:
    return payload, ctx


async def bare(payload, ctx) -> Any:
    return payload, ctx


async def bare_turned(ctx, payload) -> Any:
    return payload, ctx


async def by_annotation(job: JobContext, payload: Any) -> Any:
    return payload, job


async def as_text(payload: "dict[str, Any]", job: "JobContext") -> Any:
    return payload, job


async def named_context(context, payload) -> Any:
    return payload, context


async def optional(payload: dict[str, Any], ctx: JobContext | None = None) -> Any:
    return payload, ctx


async def older_optional(payload: dict[str, Any], job: Optional[JobContext] = None) -> Any:  # noqa: UP045
    return payload, job


async def annotated(payload: Annotated[dict[str, Any], "mine"], job: Annotated[JobContext, "mine"]) -> Any:
    return payload, job


async def of_another_library(ctx: dict[str, Any], payload: dict[str, Any]) -> Any:
    return payload, ctx


async def positional_only(payload: dict[str, Any], ctx: JobContext, /) -> Any:
    return payload, ctx


async def keyword_only(*, ctx: JobContext, payload: dict[str, Any]) -> Any:
    return payload, ctx


async def with_more(payload: dict[str, Any], *rest: Any, ctx: JobContext, **others: Any) -> Any:
    assert (rest, others) == ((), {})
    return payload, ctx


def plain(payload: dict[str, Any], ctx: JobContext) -> Any:
    return payload, ctx


class Mailer:
    """Handlers of an object."""

    async def send(self, payload: dict[str, Any], ctx: JobContext) -> Any:
        return payload, ctx

    @classmethod
    async def send_all(cls, ctx: JobContext, payload: dict[str, Any]) -> Any:
        return payload, ctx

    @staticmethod
    async def send_one(payload: dict[str, Any], ctx: JobContext) -> Any:
        return payload, ctx

    async def __call__(self, ctx: JobContext, payload: dict[str, Any]) -> Any:
        return payload, ctx


class PlainMailer:
    """An object that is a plain handler."""

    def __call__(self, ctx: JobContext, payload: dict[str, Any]) -> Any:
        return payload, ctx


async def three(mode: str, payload: dict[str, Any], ctx: JobContext) -> Any:
    assert mode == "fast"
    return payload, ctx


@wraps(both)
async def decorated(*args: Any, **kwargs: Any) -> Any:
    return await both(*args, **kwargs)


@pytest.mark.parametrize(
    "handler",
    [
        both, turned, bare, bare_turned, by_annotation, as_text, named_context, optional, older_optional, annotated,
        of_another_library, positional_only, keyword_only, with_more, plain, Mailer().send, Mailer.send_all,
        Mailer.send_one, Mailer(), PlainMailer(), partial(three, "fast"), partial(three, mode="fast"),
        partial(Mailer().send), partial(Mailer()), decorated, postponed.both, postponed.turned,
        postponed.Mailer().send, postponed.Mailer(), postponed.for_type_checkers, postponed.optional,
    ],
)  # fmt: skip
def test_payload_and_ctx_find_their_places(handler: Callable[..., Any]) -> None:
    payload, ctx = got(handler)
    assert payload == PAYLOAD
    assert ctx is CTX


async def nothing() -> Any:
    return "called"


async def only_payload(payload) -> Any:
    return payload


async def only_context(ctx: JobContext) -> Any:
    return ctx


async def only_rest(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def test_a_handler_takes_only_what_it_wants() -> None:
    assert got(nothing) == "called"
    assert got(only_payload) == PAYLOAD
    assert got(only_context) is CTX
    assert got(only_rest) == ((), {})


@pytest.mark.parametrize("payload", [None, [1, 2], "text", 5, True, {"a": None}])
def test_a_payload_may_be_any_json(payload: Any) -> None:
    assert got(only_payload, payload) == payload
    assert got(both, payload) == (payload, CTX)


# Fields of the payload by their names.


async def process_task(ctx, task_id: str) -> Any:
    return ctx, task_id


async def fields(task_id: str, count: int = 5, note: str | None = None) -> Any:
    return task_id, count, note


async def mixed(count: int, payload: dict[str, Any], ctx: JobContext, task_id: int) -> Any:
    return count, payload, ctx, task_id


async def positional_fields(first: int = 1, second: int = 2, /, third: int = 3) -> Any:
    return first, second, third


async def positional_between(first: int = 1, payload: Any = None, ctx: Any = None, /) -> Any:
    return first, payload, ctx


def test_a_parameter_with_another_name_is_given_that_field_of_the_payload() -> None:
    assert got(process_task) == (CTX, "7")
    assert got(process_task, {"task_id": "a", "more": 1}) == (CTX, "a")
    # The annotation decides what it is made into.
    assert got(mixed) == (3, PAYLOAD, CTX, 7)


def test_a_field_that_is_missing_has_its_default() -> None:
    assert got(fields, {"task_id": "a"}) == ("a", 5, None)
    assert got(fields, {"task_id": "a", "count": "6", "note": None}) == ("a", 6, None)
    assert got(positional_fields, {"second": 9}) == (1, 9, 3)
    assert got(positional_fields, {"third": 9}) == (1, 2, 9)
    assert got(positional_between, {"second": 9}) == (1, {"second": 9}, CTX)


@pytest.mark.parametrize("payload", [{}, {"count": 1}, None, [], "task_id", 7])
def test_a_field_that_is_missing_without_a_default_ends_the_job_with_its_name(payload: Any) -> None:
    with pytest.raises(DoNotRetry, match="The handler takes 'task_id', which the payload does not have"):
        got(process_task, payload)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"task_id": 7}, "task_id: Input should be a valid string"),
        ({"task_id": None}, "task_id: Input should be a valid string"),
        ({"task_id": "a", "count": "many"}, "count: Input should be a valid integer"),
        ({"task_id": "a", "count": 1.5}, "count: Input should be a valid integer"),
    ],
)
def test_a_field_of_another_kind_ends_the_job_with_its_name(payload: Any, words: str) -> None:
    with pytest.raises(DoNotRetry, match=f"The payload does not fit the handler: {words}"):
        got(fields, payload)


# Payloads with a type.


async def order(payload: Order) -> Any:
    return payload


async def parcel(ctx: JobContext, payload: Parcel) -> Any:
    return payload


async def orders(payload: list[Order]) -> Any:
    return payload


async def inner(order: Order, ctx: JobContext) -> Any:
    return order


def test_a_payload_becomes_the_model_of_its_annotation() -> None:
    made = Order(task_id="7", count=3)
    assert got(order) == made
    assert got(parcel) == Parcel("7", 3)
    assert got(orders, [PAYLOAD]) == [made]
    assert got(inner, {"order": PAYLOAD}) == made
    assert got(postponed.order) == postponed.Order(task_id="7", count=3)
    assert got(postponed.order_for_type_checkers) == postponed.Order(task_id="7", count=3)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"task_id": "7", "count": -1}, "payload.count: Input should be greater than or equal to 0"),
        ({"count": 1}, "payload.task_id: Field required"),
        (None, "payload: Input should be a valid dictionary or instance of Order"),
        ({"task_id": 7, "count": []}, "payload.task_id: .*; payload.count: "),
    ],
)
def test_a_payload_that_is_not_of_its_model_ends_the_job_and_names_every_place(payload: Any, words: str) -> None:
    with pytest.raises(DoNotRetry, match=f"The payload does not fit the handler: {words}"):
        got(order, payload)


async def with_secret(password: int) -> None:
    """Is not called."""


def test_the_refusal_does_not_quote_the_value() -> None:
    with pytest.raises(DoNotRetry) as caught:
        got(with_secret, {"password": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


class Opaque:
    """Nothing that pydantic knows."""


async def opaque(payload: Opaque, thing: Opaque = Opaque()) -> Any:  # noqa: B008 - one for all
    return payload


def test_a_type_that_nobody_can_check_is_given_what_is_there() -> None:
    assert got(opaque) == PAYLOAD


async def text_only(payload: str) -> Any:
    return payload


def test_a_payload_of_a_plain_type_is_checked_too() -> None:
    assert got(text_only, "x") == "x"
    with pytest.raises(DoNotRetry, match="payload: Input should be a valid string"):
        got(text_only)


@pytest.mark.parametrize("handler", [both, turned, plain, Mailer().send, Mailer(), partial(three, "fast"), decorated])
def test_all_of_them_can_be_registered(handler: Callable[..., Any]) -> None:
    registry = JobRegistry()
    registry.register("mine", handler)
    assert registry.tasks["mine"].handler is handler


# A plain function that gives something to await, as decorators often are.


async def double(payload: int) -> int:
    """Fails for what is negative."""
    await asyncio.sleep(0)
    if payload < 0:
        raise ValueError("negative")
    return payload * 2


def wrapped(payload: int) -> Any:
    """Is no coroutine function itself."""
    return double(payload)


@pytest.mark.parametrize("handler", [wrapped, lambda payload, ctx: double(payload)])
async def test_what_a_plain_handler_gives_to_await_is_awaited(handler: Callable[..., Any]) -> None:
    async with kernel_client(small_app(tasks={"double": handler})) as client:
        for payload in (4, -1):
            await get_job_client().enqueue("double", payload, max_attempts=1)
        done, failed = await client.jobs.drain()
    assert (done.status, done.result) == ("completed", 8)
    assert (failed.status, (failed.error or "").splitlines()[-1]) == ("dead", "ValueError: negative")
