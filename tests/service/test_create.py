"""Composition: features, ports and routers come together, or the refusal names why not."""

import re
from typing import Any, Protocol

import pytest
from fastapi import APIRouter

from app_kernel import FEATURES, ConfigurationError, Feature, ServiceConfig, actor, create_service, jobs
from app_kernel.core.events import EntityChanged
from app_kernel.core.feature import FeatureFactory
from app_kernel.core.outbox import Message
from app_kernel.core.ports import Accounts
from app_kernel.core.tables import Table
from tests.small_service import SECRET, call, features_without_admin_database, http_scope, serving, small_app


class Invoices(Protocol):
    """A port that nobody provides."""


async def nobody(kernel: Any, scope: Any) -> None:
    return None


async def swallow(db: Any, messages: Any) -> None:
    return None


def refusing(config: ServiceConfig) -> Feature:
    raise ConfigurationError(["invoices: no printer"])


WRONG: list[tuple[list[Feature | FeatureFactory], str]] = [
    (
        [Feature(name="mine", requires=(Invoices,))],
        "feature mine: needs Invoices, which no feature of this service provides",
    ),
    ([Feature(name="mine", authenticator=nobody)], "auth and mine each contribute an authenticator"),
    ([Feature(name="mine"), Feature(name="mine")], "2 features are named mine"),
    ([Feature(name="auth")], "2 features are named auth"),
    ([Feature(name="mine", provides={Accounts: lambda kernel: object()})], "Accounts is provided 2 times"),
    ([Feature(name="mine", tasks={"no name": print})], "task 'no name': a name is 1 to 191 of"),
    ([Feature(name="mine", tasks={"t": print}), Feature(name="more", tasks={"t": repr})], "task t: two handlers"),
    (
        [Feature(name="mine", sinks={"admin:x": swallow}), Feature(name="more", sinks={"admin:x": swallow})],
        "features: 2 sinks are given for admin:x",
    ),
    ([refusing], "invoices: no printer"),
]


@pytest.mark.parametrize(("mine", "words"), WRONG)
@pytest.mark.acceptance("AZ3")
def test_features_that_cannot_work_together_are_refused(mine: list[Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        small_app(features=[*FEATURES, *mine])


def test_the_layers_need_the_request_that_the_first_one_begins() -> None:
    with pytest.raises(ConfigurationError, match="request_log must come first"):
        small_app(features=FEATURES[1:])


def test_an_authenticator_needs_the_layer_that_asks_it() -> None:
    with pytest.raises(ConfigurationError, match="auth needs the feature actor"):
        small_app(features=[factory for factory in FEATURES if factory is not actor.create_feature])


def test_settings_and_features_are_refused_in_one_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_service(
            features=[*FEATURES, Feature(name="mine", requires=(Invoices,))],
            config=ServiceConfig(jwt_secret=SECRET, redis_url="http://x"),
            tasks=object(),
            api_prefix="api",
        )
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize("given", [APIRouter(), None])
def test_routers_are_a_list_of_them(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"routers: is a list of them; write routers=\[router\]"):
        create_service("small", routers=given)


def test_tasks_that_nobody_can_run_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="tasks: type object is no JobRegistry"):
        small_app(tasks=object())
    with pytest.raises(ConfigurationError, match=r"tasks: the module no\.such\.module cannot be imported"):
        small_app(tasks="no.such.module")
    without_jobs = [factory for factory in FEATURES if factory is not jobs.create_feature]
    with pytest.raises(ConfigurationError, match="app has tasks, which need the feature jobs"):
        small_app(features=without_jobs, tasks={"t": print})


async def test_a_feature_is_taken_as_a_value_and_as_a_factory_and_may_be_switched_off() -> None:
    router = APIRouter()

    @router.get("/invoices")
    async def invoices() -> str:
        return "none"

    def factory(config: ServiceConfig) -> Feature | None:
        return Feature(name="invoices", router=router) if config.debug else None

    for debug, status in ((True, 200), (False, 404)):
        async with serving(features=[*FEATURES, factory, Feature(name="mine")], debug=debug) as client:
            assert (await client.get("/invoices")).status_code == status
            assert client.kernel.features[-1].name == "mine"


async def test_the_prefix_goes_before_everything_but_health_and_metrics() -> None:
    router = APIRouter(prefix="/things")

    @router.get("")
    async def things() -> str:
        return "things"

    async with serving(router, api_prefix="/api/v1") as client:
        for path, status in [
            ("/api/v1/things", 200),
            ("/things", 404),
            ("/api/v1/auth/me", 401),
            ("/auth/me", 404),
            ("/healthz", 200),
            ("/readyz", 200),
            ("/metrics", 200),
            ("/api/v1/healthz", 404),
        ]:
            assert (await client.get(path)).status_code == status, path


async def test_the_kernel_owns_neither_the_root_nor_health() -> None:
    app = small_app()

    @app.get("/")
    @app.get("/health")
    async def mine() -> str:
        return "mine"

    async with app.router.lifespan_context(app):
        for path in ("/", "/health"):
            assert (await call(app, http_scope(path=path))).json() == "mine"


async def test_without_auth_there_are_no_auth_routes() -> None:
    async with serving(auth_enabled=False) as client:
        assert (await client.post("/auth/login", json={})).status_code == 404


def test_without_settings_those_of_the_environment_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.setenv("SERVICE_NAME", "from_env")
    assert create_service().title == "from_env"


def test_nothing_is_made_before_the_lifespan_starts(tmp_path: Any) -> None:
    create_service("small", config=ServiceConfig(jwt_secret=SECRET, database_name=str(tmp_path / "d" / "app.db")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mine", "settings", "beside"),
    [
        (Feature(name="mine"), {}, False),
        (Feature(name="mine", sinks={"jobs.enqueue": swallow}), {}, False),
        (Feature(name="mine", sinks={"admin:x": swallow}), {}, True),
        (Feature(name="mine", admin_tables=(Table("own_logs", {"action": str}),)), {}, True),
        (Feature(name="mine"), {"admin_db_url": "sqlite:///own/admin.db"}, True),
    ],
)
def test_there_is_an_admin_database_where_a_feature_or_a_setting_asks_for_one(
    mine: Feature, settings: dict[str, str], beside: bool
) -> None:
    kernel = small_app(features=[*features_without_admin_database(), mine], **settings).state.kernel
    assert (kernel.admin_db is not None) is beside


def test_the_place_of_an_admin_database_that_is_needed_is_checked(tmp_path: Any) -> None:
    (tmp_path / "app_admin.db").mkdir()
    mine = Feature(name="mine", sinks={"admin:x": swallow})
    with pytest.raises(ConfigurationError, match=r"admin_db_url \(ADMIN_DB_URL\): is not set.+: names a directory"):
        small_app(features=[*FEATURES, mine], database_name=str(tmp_path / "app.db"))
    without = small_app(features=features_without_admin_database(), database_name=str(tmp_path / "app.db"))
    assert without.state.kernel.admin_db is None


async def test_the_database_is_given_the_recorders_of_all_features() -> None:
    seen: list[str] = []

    def first(change: EntityChanged) -> list[Message]:
        seen.append(f"first {change.action}")
        return []

    def second(change: EntityChanged) -> list[Message]:
        seen.append(f"second {change.action}")
        return []

    mine = [Feature(name="one", recorders=(first,)), Feature(name="two", recorders=(second,))]
    async with serving(features=[*FEATURES, *mine]) as client:
        await client.db.save_entity("things", {"name": "x"})
    assert seen == ["first create", "second create"]
