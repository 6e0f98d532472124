"""A feature with a recorder and a sink in a whole service: every change has its effect once, in order."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app_kernel import FEATURES, Feature, ServiceConfig, create_service, outbox
from app_kernel.admin_worker import AdminWorker, admin_sinks, chosen_features, find_addresses
from app_kernel.core.errors import ConfigurationError, StorageFull, Unavailable
from app_kernel.core.events import EntityChanged
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.core.tables import Table
from app_kernel.db import create_database
from app_kernel.redis_wire import create_redis
from app_kernel.testing import KernelClient, kernel_client
from tests.conformance.mysql_place import empty_database
from tests.outbox.carrying import until
from tests.small_service import SECRET, features_without_admin_database

TOPIC = "admin:diary"


def record(change: EntityChanged) -> Iterable[Message]:
    """What a feature such as audit does: one message for each change."""
    if change.entity == "things":
        yield Message(TOPIC, {"id": change.id, "version": change.version, "action": change.action}, key=str(change.id))


async def keep_diary(db: EntityStore, messages: Sequence[Message]) -> None:
    """Writes each message down; it does not look whether it has done so before."""
    for message in messages:
        await db.save_entity("diary", {"entity": message.body["id"], **dict(message.body), "id": None})


async def keep_nothing(db: EntityStore, messages: Sequence[Message]) -> None:
    """A receiver that cannot take them now."""
    raise StorageFull


def diary(sink: Callable[..., Any] = keep_diary) -> Feature:
    fields = {"entity": str, "version": int, "action": str}
    return Feature(name="diary", recorders=(record,), sinks={TOPIC: sink}, admin_tables=(Table("diary", fields),))


@asynccontextmanager
async def service(folder: Path, url: str, redis_url: str | None, feature: Feature) -> AsyncIterator[KernelClient]:
    """The service, and an admin worker beside it where there is Redis."""
    admin_url = f"sqlite:///{folder / 'admin.db'}"
    config = ServiceConfig(jwt_secret=SECRET, database_name=url, admin_db_url=admin_url, redis_url=redis_url)
    app = create_service("outbox-test", config=config, features=[*FEATURES, feature])
    async with AsyncExitStack() as stack:
        if redis_url is not None:
            redis = create_redis(redis_url, "worker")
            stack.push_async_callback(redis.aclose)
            await redis.flushall()
            worker = AdminWorker(redis, create_database(admin_url), [feature])
            working = asyncio.create_task(worker.run())
            stack.push_async_callback(lambda: working)
            stack.callback(worker.end)
        yield await stack.enter_async_context(kernel_client(app, database=None))


async def live(db: EntityStore, number: int) -> dict[str, list[str]]:
    """Every kind of change of one entity; what the diary is to say of it."""
    id = f"thing-{number}"
    for value in range(3):
        await db.save_entity("things", {"id": id, "value": value})
    await db.save_entity("things", {"id": id, "value": 2})
    await db.delete_entity("things", id)
    await db.restore_entity("things", id)
    try:
        async with db.transaction():
            await db.save_entity("things", {"id": id, "value": "never"})
            raise KeyError
    except KeyError:
        await db.delete_entity("things", id, permanent=True)
    return {id: ["create", "update", "update", "delete", "restore", "delete"]}


async def assert_diary_is(client: KernelClient, expected: dict[str, list[str]]) -> None:
    count = sum(map(len, expected.values()))

    async def rows() -> list[dict[str, Any]]:
        return await client.admin_db.find_entities("diary", order_by="id")

    async def is_there() -> bool:
        return len(await rows()) >= count

    await until(f"{count} lines in the diary", is_there)
    found: dict[str, list[tuple[int, str]]] = {}
    for row in await rows():
        found.setdefault(row["entity"], []).append((row["version"], row["action"]))
    assert found.keys() == expected.keys()
    for id, actions in expected.items():
        versions = [version for version, _ in found[id]]
        assert versions == sorted(set(versions)), f"{id}: {found[id]}"
        assert [action for _, action in found[id]][:5] == actions[:5]
        assert len(found[id]) == len(actions)


@pytest.mark.parametrize("backend", ["sqlite", "sqlite with redis", "postgres with redis", "mysql with redis"])
@pytest.mark.acceptance("EV1")
async def test_every_change_has_one_effect_in_order(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    redis_url = request.getfixturevalue("redis_url") if "redis" in backend else None
    async with AsyncExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'app.db'}"
        if "postgres" in backend:
            url = f"{request.getfixturevalue('postgres_url')}?schema=outbox_{os.getpid()}"
        elif "mysql" in backend:
            url = await stack.enter_async_context(empty_database())
        client = await stack.enter_async_context(service(tmp_path, url, redis_url, diary()))
        turns = asyncio.Semaphore(4)

        async def live_in_turn(number: int) -> dict[str, list[str]]:
            async with turns:
                return await live(client.db, number)

        lives = await asyncio.gather(*map(live_in_turn, range(30)))
        await assert_diary_is(client, {id: actions for each in lives for id, actions in each.items()})

        async def are_counted() -> bool:
            figures = (await client.get("/metrics")).text
            # What the service counts of itself leaves too, now and then.
            sent = f'app_kernel_outbox_sent_total{{topic="{TOPIC}"}} 180.0' in figures
            return sent and "app_kernel_outbox_unsent 0.0" in figures

        await until("the count of what was sent", are_counted)
        figures = (await client.get("/metrics")).text
        assert "app_kernel_outbox_relay_active 1.0" in figures
        length = f'app_kernel_outbox_stream_length{{topic="{TOPIC}"}} 0.0'
        assert (length in figures) == ("redis" in backend)
        assert (await client.get("/readyz")).json()["components"]["outbox"] == "ok"


@pytest.mark.acceptance("EV2")
async def test_a_lag_shows_in_the_figures_and_at_last_in_readiness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service(tmp_path, f"sqlite:///{tmp_path / 'app.db'}", None, diary(keep_nothing)) as client:
        await client.db.save_entity("things", {"id": "a"})
        await asyncio.sleep(0.3)
        figures = (await client.get("/metrics")).text
        assert "app_kernel_outbox_unsent 1.0" in figures
        assert f'app_kernel_outbox_interruptions_total{{topic="{TOPIC}"}}' in figures
        assert (await client.get("/readyz")).status_code == 200
        monkeypatch.setattr(client.kernel, "config", client.kernel.config.with_values(outbox_lag_seconds=0.1))
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["components"]["outbox"] == "unavailable"
        assert (await client.get("/healthz")).status_code == 200


async def test_a_service_that_sends_nothing_has_no_relay(tmp_path: Path) -> None:
    config = ServiceConfig(jwt_secret=SECRET, database_name=f"sqlite:///{tmp_path / 'app.db'}")
    silent = [feature for feature in features_without_admin_database() if not feature.sinks]
    async with kernel_client(create_service("quiet", config=config, features=silent), database=None) as client:
        assert "app_kernel_outbox_relay_active 0.0" in (await client.get("/metrics")).text
        assert not (tmp_path / "app.db-relay.lock").exists()
        assert "outbox" not in (await client.get("/readyz")).json()["components"]


async def insert(db: EntityStore, topic: str, created_at: str) -> None:
    """A row as an earlier version, or somebody by hand, may have left it."""
    await db.privileged.execute(
        "INSERT INTO [kernel_outbox] ([id], [topic], [key], [body], [created_at]) VALUES ('old', ?, '', '{}', ?)",
        (topic, created_at),
    )


@pytest.mark.parametrize("with_redis", [False, True], ids=["alone", "with redis"])
async def test_what_a_removed_feature_left_behind_shows_in_the_figures_and_not_in_readiness(
    with_redis: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    redis_url = request.getfixturevalue("redis_url") if with_redis else None
    async with service(tmp_path, f"sqlite:///{tmp_path / 'app.db'}", redis_url, diary()) as client:
        await insert(client.db, "removed:feature", "2020-01-01T00:00:00.000000Z")
        await insert(client.db, "admin:removed", "2020-01-01T00:00:00.000000Z")
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["components"]["outbox"]) == (200, "ok")
        figures = (await client.get("/metrics")).text
        assert "app_kernel_outbox_unsent 2.0" in figures
        (oldest,) = [line for line in figures.splitlines() if line.startswith("app_kernel_outbox_oldest_seconds ")]
        assert float(oldest.split()[1]) > 86400


@pytest.mark.parametrize("created_at", ["0", "yesterday", "2020-01-01", "0001-01-01T00:00:00+14:00"])
async def test_a_row_whose_time_cannot_be_read_breaks_neither_the_figures_nor_readiness(
    tmp_path: Path, created_at: str
) -> None:
    async with service(tmp_path, f"sqlite:///{tmp_path / 'app.db'}", None, diary(keep_nothing)) as client:
        await insert(client.db, "removed:feature", created_at)
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert "app_kernel_outbox_unsent 1.0" in answer.text
        assert (await client.get("/readyz")).status_code == 200
        await insert(client.db, TOPIC, "tomorrow")
        assert (await client.get("/readyz")).status_code == 200
        assert "app_kernel_outbox_unsent 2.0" in (await client.get("/metrics")).text


@pytest.mark.acceptance("OP5")
async def test_when_only_the_database_is_down_readiness_names_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise Unavailable("away")

    async with service(tmp_path, f"sqlite:///{tmp_path / 'app.db'}", None, diary()) as client:
        assert (await client.get("/readyz")).json()["components"]["outbox"] == "ok"
        monkeypatch.setattr(outbox, "list_waiting", away)
        monkeypatch.setattr(client.kernel.db, "ping", away)
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["components"] == {"database": "unavailable", "admin_database": "ok"}


async def test_what_was_sent_just_before_the_end_is_delivered(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with service(tmp_path, url, None, diary()) as client:
        await client.db.save_entity("things", {"id": "a"})
    await assert_one_entry(tmp_path / "admin.db")


async def assert_one_entry(file: Path) -> None:
    """Of the diary in an admin database."""
    database = create_database(f"sqlite:///{file}")
    await database.open()
    assert len(await database.connection().find_entities("diary")) == 1
    await database.close()


APP = """
from app_kernel import FEATURES, ServiceConfig, create_service
from tests.outbox.test_service import diary
config = ServiceConfig(jwt_secret="s" * 40, database_name="sqlite:///{folder}/app.db")
app = create_service("named", config=config, features=[*FEATURES, diary()])
list_of_mine = [diary()]
"""


@pytest.mark.parametrize("option", [("--app", "served:app"), ("--features", "served:list_of_mine")])
async def test_the_admin_worker_serves_the_features_it_is_told_of_and_ends_at_sigterm(
    option: tuple[str, str], tmp_path: Path, redis_url: str
) -> None:
    places = ("--redis", redis_url, "--db", f"sqlite:///{tmp_path / 'admin.db'}")
    output = await _output_of_serving_one(tmp_path, redis_url, *places, *option)
    assert '"event":"admin_worker_ended"' in output


async def test_the_admin_worker_takes_what_is_not_given_from_the_settings_of_the_service(
    tmp_path: Path, redis_url: str
) -> None:
    settings = {"REDIS_URL": redis_url, "DATABASE_PATH": str(tmp_path / "shop.db")}
    await _output_of_serving_one(tmp_path, redis_url, "--features", "served:list_of_mine", **settings)
    await assert_one_entry(tmp_path / "shop_admin.db")


async def _output_of_serving_one(folder: Path, redis_url: str, *arguments: str, **settings: str) -> str:
    """What an admin worker prints that finds one message, and is told to end once it has taken it."""
    (folder / "served.py").write_text(APP.format(folder=folder))
    redis = create_redis(redis_url, "test")
    await redis.flushall()
    await redis.xadd(TOPIC, {"id": "m1", "key": "k", "body": '{"id": "a", "version": 1, "action": "create"}'})
    process = _worker(folder, *arguments, **settings)
    try:

        async def is_done() -> bool:
            return not await redis.xlen(TOPIC)

        await until("the end of the stream", is_done, 30)
        process.send_signal(signal.SIGTERM)
        output = (await asyncio.to_thread(process.communicate, timeout=20))[0]
    finally:
        process.kill()
        process.wait()
        await redis.aclose()
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        ({}, ["--redis: missing; give it, or set REDIS_URL", "--db: missing; give it, or set ADMIN_DB_URL"]),
        ({"REDIS_URL": "redis://127.0.0.1:1"}, ["--db: missing; give it, or set ADMIN_DB_URL"]),
        ({"REDIS_URL": "redis://127.0.0.1:1", "DATABASE_TYPE": "postgres"}, ["(DATABASE_PATH): missing"]),
        ({"REDIS_URL": "redis://127.0.0.1:1", "ADMIN_DB_URL": "http://a"}, ["(ADMIN_DB_URL): its scheme is none"]),
        ({"DATABASE_PATH": "a.db", "METERING_ENABLED": "perhaps"}, ["METERING_ENABLED: ", "--redis: missing"]),
    ],
)
async def test_settings_that_say_too_little_for_the_admin_worker_end_it(
    settings: dict[str, str], problems: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "DATABASE_PATH", "DATABASE_URL", "ADMIN_DB_URL", "DATABASE_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        find_addresses(None, None)
    assert len(refused.value.problems) == len(problems)
    for problem, expected in zip(refused.value.problems, problems, strict=True):
        assert expected in problem


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--app", "quiet:app"), "there is nothing to do"),
        (("--app", "nowhere:app"), "--app: nowhere:app is not there"),
        (("--features", "os:path"), "--features"),
        (("--log-level", "LOUD"), "there is no level LOUD"),
    ],
)
async def test_wrong_use_of_the_admin_worker_is_one_line_and_status_2(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "quiet.py").write_text(
        "from app_kernel import ServiceConfig, create_service\n"
        "app = create_service('quiet', config=ServiceConfig(auth_enabled=False), features=[])\n"
    )
    process = _worker(tmp_path, "--redis", "redis://127.0.0.1:1", "--db", "sqlite:///admin.db", *arguments)
    output = (await asyncio.to_thread(process.communicate, timeout=30))[0]
    assert process.returncode == 2, output
    assert sentence in output
    assert "Traceback" not in output


def _worker(folder: Path, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    places = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "app_kernel.admin_worker", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": places, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def test_the_admin_worker_knows_no_feature_by_name() -> None:
    assert admin_sinks([diary()]).keys() == {TOPIC}
    assert admin_sinks([Feature(name="local", sinks={"test:local": keep_diary})]) == {}
    assert [feature.name for feature in chosen_features(None, None)]
    with pytest.raises(ConfigurationError, match="create_service"):
        chosen_features("os:path", None)
