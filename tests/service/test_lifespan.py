"""Start-up and shutdown: what happens in which order, and what is left when a step fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from app_kernel import FEATURES, ConfigurationError, Feature, acting_as
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import AmbiguousKernel, NoRunningKernel
from app_kernel.core.kernel import Kernel
from app_kernel.core.tables import Table
from app_kernel.db import get_db_connection
from app_kernel.testing import kernel_client
from tests.small_service import events, log_lines, serving, small_app


class Diary:
    """Features and hooks that note what happens, one of which may fail."""

    def __init__(self, failing: str = "") -> None:
        self.notes: list[str] = []
        self.failing = failing

    def note(self, what: str) -> None:
        self.notes.append(what)
        if what == self.failing:
            raise RuntimeError(f"{what} failed")

    def feature(self, name: str) -> Feature:
        @asynccontextmanager
        async def lifespan(kernel: Kernel) -> AsyncIterator[None]:
            self.note(f"+{name}")
            try:
                yield
            finally:
                self.note(f"-{name}")

        return Feature(name=name, lifespan=lifespan)

    def app(self) -> FastAPI:
        async def schema_init(db: Any) -> None:
            await db.execute("CREATE TABLE [old] ([id] TEXT PRIMARY KEY, [name] TEXT)")
            self.note("schema_init")

        def db_seed(db: Any) -> None:
            self.note("db_seed")

        async def on_startup() -> None:
            self.note("on_startup")

        def second(app: FastAPI) -> None:
            self.note(f"second {app.title}")

        return small_app(
            features=[*FEATURES, self.feature("one"), self.feature("two")],
            schema_init=schema_init,
            db_seed=db_seed,
            on_startup=[on_startup, second],
            on_shutdown=[lambda: self.note("stop1"), lambda app: self.note("stop2")],
        )


async def test_the_order_of_start_and_stop() -> None:
    diary = Diary()
    async with kernel_client(diary.app()) as client:
        assert client.kernel.ready
        diary.note("serving")
    assert diary.notes == [
        "schema_init",
        "db_seed",
        "+one",
        "+two",
        "on_startup",
        "second small",
        "serving",
        "stop1",
        "stop2",
        "-two",
        "-one",
    ]
    assert not client.kernel.ready
    assert not client.kernel.running


@pytest.mark.parametrize(
    ("failing", "step", "after"),
    [
        ("schema_init", "schema_init", []),
        ("db_seed", "db_seed", []),
        ("+one", "feature one", []),
        ("+two", "feature two", ["-one"]),
        ("on_startup", "on_startup", ["-two", "-one"]),
    ],
)
async def test_a_failing_step_is_named_in_one_line_and_what_was_opened_is_closed(
    failing: str, step: str, after: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    diary = Diary(failing)
    app = diary.app()
    with pytest.raises(RuntimeError, match=f"{failing.replace('+', '[+]')} failed"):
        async with kernel_client(app):
            pass
    assert diary.notes[diary.notes.index(failing) + 1 :] == after
    lines = [line for line in log_lines(capsys) if line["level"] == "error"]
    assert [(line["event"], line["step"]) for line in lines] == [("startup_failed", step)]
    assert not app.state.kernel.running
    with pytest.raises(NoRunningKernel):
        current_kernel()


async def test_a_shutdown_hook_that_fails_does_not_keep_the_rest_from_closing() -> None:
    diary = Diary("stop1")
    app = diary.app()
    with pytest.raises(RuntimeError, match="stop1 failed"):
        async with kernel_client(app):
            pass
    assert diary.notes[-4:] == ["stop1", "stop2", "-two", "-one"]
    assert not app.state.kernel.running


async def test_a_service_may_start_again_after_it_stopped() -> None:
    app = small_app()
    for _ in range(2):
        async with kernel_client(app) as client:
            assert (await client.get("/readyz")).status_code == 200


async def test_hooks_work_with_the_database_in_every_way() -> None:
    seen: list[Any] = []

    async def db_seed(db: Any) -> None:
        with acting_as("seeder"):
            seen.append((await db.save_entity("things", {"name": "a"}))["created_by"])
        async with get_db_connection() as other:
            seen.append((await other.save_entity("things", {"name": "b"}))["created_by"])

    async with serving(db_seed=db_seed) as client:
        assert await client.db.count_entities("things") == 2
    assert seen == ["seeder", None]


async def test_a_features_tables_are_there_before_the_seed() -> None:
    table = Table("kernel_mine", {"name": str})
    found: list[int] = []

    async def db_seed(db: Any) -> None:
        found.append(len(await db.execute("SELECT * FROM [kernel_mine]")))

    async with serving(features=[*FEATURES, Feature(name="mine", tables=(table,))], db_seed=db_seed):
        assert found == [0]


async def test_two_services_in_one_process_are_not_confused() -> None:
    async with serving() as one, serving() as two:
        assert one.kernel is not two.kernel
        with pytest.raises(AmbiguousKernel, match="small, small"):
            current_kernel()
    with pytest.raises(NoRunningKernel, match="lifespan"):
        current_kernel()


async def test_the_server_is_told_of_a_failed_start_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    app = Diary("db_seed").app()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError):
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert sent == [{"type": "lifespan.startup.failed", "message": ""}]
    assert len(events(log_lines(capsys), "startup_failed")) == 1


async def test_a_shadowed_route_is_found_before_anything_is_opened(tmp_path: Any) -> None:
    app = small_app(database_name=str(tmp_path / "app.db"))

    @app.get("/healthz")
    async def mine() -> None: ...

    with pytest.raises(ConfigurationError, match="GET /healthz"):
        async with app.router.lifespan_context(app):
            pass
    assert list(tmp_path.iterdir()) == []
