"""Composition: what was asked for is checked as a whole, then put together."""

import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI

from app_kernel.core.config import ServiceConfig
from app_kernel.core.database_urls import MYSQL_SCHEMES, backend_of
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.feature import Feature, FeatureFactory, FeatureRouter
from app_kernel.core.kernel import Kernel, needs_admin_database
from app_kernel.core.secret_settings import secret_values
from app_kernel.db import create_database
from app_kernel.features import FEATURES
from app_kernel.health import app_checks
from app_kernel.jobs import APP_FEATURE, NEEDS_REDIS, collect_tasks
from app_kernel.logs import configure_logging
from app_kernel.redis_wire import create_redis
from app_kernel.service.address_check import find_admin_problems, find_database_problems, labelled
from app_kernel.service.application import KernelApp
from app_kernel.service.document import operation_ids
from app_kernel.service.feature_routes import answer_no_early
from app_kernel.service.lifespan import Hook, Hooks, Lifespan
from app_kernel.service.plain_answers import answer_plainly
from app_kernel.service.preflight import complete, find_problems, settle_name, warn_of_no_mail, warn_of_weak_secret
from app_kernel.service.route_check import find_misplaced_routers

STARTUP_FAILURE = 3
"""The exit status by which supervisors such as uvicorn's and gunicorn's know not to start a worker again."""


def create_service(  # noqa: PLR0913 - one keyword for each thing that an application may bring; all but the name optional
    name: str | None = None,
    *,
    routers: Iterable[APIRouter] = (),
    config: ServiceConfig | None = None,
    tasks: Any = None,
    features: Iterable[Feature | FeatureFactory] | None = None,
    version: str = "0.1.0",
    description: str = "",
    on_startup: Hook | Sequence[Hook] | None = None,
    on_shutdown: Hook | Sequence[Hook] | None = None,
    health_checks: Iterable[Any] = (),
    schema_init: Hook | None = None,
    db_seed: Hook | None = None,
    api_prefix: str = "",
) -> FastAPI:
    """Builds the service as a FastAPI application for an ASGI server; nothing is opened before its lifespan starts.

    `config` is `ServiceConfig.from_env()` if left out. `tasks` are the background jobs: a JobRegistry, the path of a
    module with registries in it, a dict of handlers by name, or a list of these. `features` replaces the list: extend
    it, `[*FEATURES, mine()]`, or leave something out of it, `[each for each in FEATURES if each is not ...]`.
    At start-up the databases are opened, then come `schema_init(db)`, `db_seed(db)`, the features and `on_startup`,
    plain or async; a start-up or shutdown hook may take the application as its argument. A database server that is down
    does not end it: it goes on once that answers. `health_checks` are async callables, or (name, callable) pairs, that
    give True, None or (ok, text). `api_prefix` goes before every route but /healthz, /readyz and /metrics. Raises
    ConfigurationError, which lists everything that is wrong in one message.
    """
    routers = _checked_routers(routers)
    given = _switched_on(config or ServiceConfig.from_env(), routers)
    configure_logging(given.log_level, secret_values(given))
    settled_name, problems = settle_name(name, given)
    settled = complete(given, settled_name)
    chosen, more = compose(FEATURES if features is None else features, settled, health_checks, tasks)
    problems += [*find_problems(given), *_argument_problems(api_prefix), *find_queue_problems(chosen, settled)]
    # A feature that could not be made is missing for the reason that is told already.
    more = more or [*_router_problems(routers, chosen)]
    if problems or more:
        raise _refusal([labelled(problem) for problem in (*problems, *more)])
    warn_of_weak_secret(given)
    warn_of_no_mail(given)

    hooks = Hooks(schema_init, db_seed, _listed(on_startup), _listed(on_shutdown))
    app = KernelApp(
        make_kernel(settled, chosen, version),
        title=settled.name or "",
        version=version,
        description=description,
        lifespan=Lifespan(hooks),
        **({} if settled.docs_enabled else {"openapi_url": None}),
    )
    app.state.api_prefix = api_prefix
    for router in (each for each in routers if not isinstance(each, FeatureRouter)):
        answer_plainly(router)
        app.include_router(router, prefix=api_prefix)
    for feature in chosen:
        if feature.router is not None:
            prefix = "" if feature.unprefixed else api_prefix
            answer_no_early(feature.router)
            app.include_router(feature.router, prefix=prefix, generate_unique_id_function=operation_ids(prefix))
    return app


def _switched_on(config: ServiceConfig, routers: Iterable[APIRouter]) -> ServiceConfig:
    """The settings with those that a router means, such as that of `create_saas_router()`."""
    switches = [router.switches for router in routers if isinstance(router, FeatureRouter)]
    return (
        config.with_values(**{name: value for each in switches for name, value in each.items()}) if switches else config
    )


def _checked_routers(routers: Iterable[Any]) -> list[APIRouter]:
    """The routers as a list; raises ConfigurationError for what is none, such as a function that makes one."""
    if isinstance(routers, APIRouter) or not isinstance(routers, Iterable):
        raise _refusal(["routers: is a list of them; write routers=[router]"])
    listed = list(routers)
    wrong = [getattr(each, "__name__", repr(each)) for each in listed if not isinstance(each, APIRouter)]
    if wrong:
        raise _refusal([f"routers: {name} is no router; call it if it makes one: {name}()" for name in wrong])
    return listed


def _router_problems(routers: Iterable[APIRouter], chosen: Iterable[Feature]) -> Iterator[str]:
    names = {feature.name for feature in chosen}
    for name in dict.fromkeys(router.feature_name for router in routers if isinstance(router, FeatureRouter)):
        if name not in names:
            yield (
                f"routers: the routes of {name} need the feature {name}; `features=` replaces the list: use "
                "[*FEATURES, ...]"
            )
    for router in routers:
        yield from find_misplaced_routers(router.routes)


def make_kernel(config: ServiceConfig, features: Sequence[Feature], version: str = "") -> Kernel:
    """The kernel with databases that are not open and a Redis client that is not made yet."""
    recorders = [recorder for feature in features for recorder in feature.recorders]
    synchronous, admin_db = config.database_synchronous, None
    if config.admin_db_url is not None or needs_admin_database(features):
        admin_db = create_database(config.resolved_admin_db_url, synchronous=synchronous)
    database = create_database(config.database_url, synchronous=synchronous, recorders=recorders)
    kernel = Kernel(config, database, features, admin_db=admin_db, version=version)
    if config.redis_url is not None:
        kernel.connect_redis = partial(create_redis, config.redis_url, kernel.name)
    return kernel


def _refusal(problems: Sequence[str]) -> ConfigurationError:
    error = ConfigurationError(problems)
    if multiprocessing.parent_process() is not None:
        # A worker that ends with 1 is started again for ever. The status that says "do not" takes the place of the
        # message, so the message is written here.
        sys.stderr.write(f"{error}\n")
        error.code = STARTUP_FAILURE
    return error


def _argument_problems(api_prefix: str) -> Iterator[str]:
    if api_prefix and (not api_prefix.startswith("/") or api_prefix.endswith("/")):
        yield "api_prefix: must begin with a slash and not end with one, such as /api"


def compose(
    entries: Iterable[Feature | FeatureFactory], config: ServiceConfig, health_checks: Iterable[Any], tasks: Any
) -> tuple[list[Feature], list[str]]:
    """The features that are switched on, and what is wrong with them."""
    chosen: list[Feature] = []
    problems: list[str] = []
    for entry in entries:
        try:
            feature = entry if isinstance(entry, Feature) else entry(config)
        except ConfigurationError as exc:
            problems += exc.problems
        else:
            chosen += [feature] if feature is not None else []
    checks, own_tasks = app_checks(health_checks), {}
    try:
        own_tasks = collect_tasks(tasks)
        collect_tasks([feature.tasks for feature in chosen] + [own_tasks])
    except ConfigurationError as exc:
        problems += exc.problems
    if checks or own_tasks:
        chosen.append(Feature(name=APP_FEATURE, health=checks, tasks=own_tasks))
    problems += _feature_problems(chosen)
    if config.admin_db_url is None and needs_admin_database(chosen) and not find_database_problems(config):
        problems += find_admin_problems(config)
    return chosen, problems


def find_queue_problems(features: Iterable[Feature], config: ServiceConfig) -> list[str]:
    """What keeps jobs from having a place; for what runs or takes them, which commands of a terminal do not."""
    needs_redis = backend_of(config.database_url) in MYSQL_SCHEMES and _has_jobs(features)
    return [NEEDS_REDIS] if needs_redis and config.redis_url is None else []


def _feature_problems(features: Sequence[Feature]) -> Iterator[str]:
    for name, count in Counter(feature.name for feature in features).items():
        if count > 1:
            yield f"features: {count} features are named {name}"
    if any(feature.middleware for feature in features) and features[0].name != "request_log":
        yield "features: request_log must come first, as every other layer stands in the request that it begins"
    carries = [feature.name for feature in features if feature.sinks or feature.recorders or feature.event_recorders]
    if carries and not any(feature.name == "outbox" for feature in features):
        yield f"features: {carries[0]} needs the feature outbox; `features=` replaces the list: use [*FEATURES, ...]"
    authenticators = [feature.name for feature in features if feature.authenticator is not None]
    if len(authenticators) > 1:
        yield f"features: {' and '.join(authenticators)} each contribute an authenticator; there can be only one"
    if authenticators and not any(feature.name == "actor" for feature in features):
        yield f"features: {authenticators[0]} needs the feature actor, without which nobody is ever signed in"
    works = [feature.name for feature in features if feature.tasks]
    if works and not _has_jobs(features):
        yield f"features: {works[-1]} has tasks, which need the feature jobs; `features=` replaces the list"
    yield from _wiring_problems(features)


def _has_jobs(features: Iterable[Feature]) -> bool:
    return any(feature.name == "jobs" for feature in features)


def _wiring_problems(features: Sequence[Feature]) -> Iterator[str]:
    topics = Counter(topic for feature in features for topic in feature.sinks)
    for topic, count in topics.items():
        if count > 1:
            yield f"features: {count} sinks are given for {topic}; there can be only one"
    provided = Counter(port for feature in features for port in feature.provides)
    for port, count in provided.items():
        if count > 1:
            yield f"features: {port.__name__} is provided {count} times"
    for feature in features:
        for port in feature.requires:
            if port not in provided:
                yield f"feature {feature.name}: needs {port.__name__}, which no feature of this service provides"


def _listed(hooks: Hook | Sequence[Hook] | None) -> Sequence[Hook]:
    if hooks is None:
        return ()
    return (hooks,) if callable(hooks) else tuple(hooks)
