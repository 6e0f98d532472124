"""The settings: one field, one setting, one environment name. Nobody else reads the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

import orjson
from dotenv import dotenv_values
from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from app_kernel.core.database_urls import (
    SERVER_SCHEMES,
    admin_url_beside,
    backend_of,
    mysql_url,
    option_of,
    postgres_url,
    with_option,
)
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.feature_settings import FeatureSettings

DEFAULT_DATABASE = "./data/app.db"
DATABASE_NAME = "DATABASE_NAME"
"""An environment name of `database_name` beside DATABASE_PATH, which wins: a server's database is no path."""
SHORT_SECRET = 32
"""Bytes below which an HS256 secret is weaker than its hash (RFC 7518, 3.2)."""

KEPT_BLANK = frozenset({"jwt_secret", "encryption_key", "database_password"})
"""Settings of which white space is a value: a wrong one, which is told, and not one that is not set."""

Positive = Annotated[int, Field(gt=0)]


def _env(name: str) -> dict[str, Any]:
    return {"env": name}


class ServiceConfig(FeatureSettings):
    """The settings of a service. `ServiceConfig(...)` reads no environment; `ServiceConfig.from_env()` does.

    It is frozen, an unknown keyword is an error, and its text form never shows a secret. Raises ConfigurationError,
    which lists every problem at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="The service's name: the audience of its tokens, and `app` in audit and metering.",
        json_schema_extra=_env("SERVICE_NAME"),
    )
    environment: Literal["development", "test", "production"] = Field(
        default="development", description="`production` refuses weak settings instead of warning about them."
    )
    debug: bool = Field(default=False, description="Development conveniences; refused in production.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least level that is logged."
    )

    jwt_secret: str | None = Field(
        default=None, repr=False, description="Signs access tokens. Required with auth; 32 bytes or more in production."
    )
    jwt_secret_previous: str | None = Field(
        default=None,
        repr=False,
        description="The secret before the last rotation: its tokens stay valid until it is removed.",
    )
    encryption_key: str | None = Field(
        default=None,
        repr=False,
        description="Seals what is kept in the database and read again, and keys the hashes of API keys; derived from "
        "`jwt_secret` if unset.",
    )
    encryption_key_previous: str | None = Field(
        default=None,
        repr=False,
        description="The encryption key before the last rotation: what it sealed stays readable.",
    )
    jwt_expiry_hours: Annotated[float, Field(gt=0, le=24 * 365)] = Field(
        default=24, description="Lifetime of an access token, in hours."
    )
    auth_enabled: bool = Field(
        default=True, description="Off: no /auth routes, no secret needed, nobody is ever signed in."
    )
    allow_self_signup: bool = Field(default=False, description="Opens POST /auth/register to everybody.")
    email_verification: Literal["off", "required"] = Field(
        default="off",
        description="`required`: an account signs in only after its owner followed the link that was mailed to it.",
    )
    role_scopes: dict[str, list[str]] = Field(
        default={},
        description="Scopes that a role may have, by role, with wildcards; a role that is not named has every scope "
        "but `admin` and `admin:*`, which only admins have.",
    )
    password_min_length: Annotated[int, Field(ge=8, le=1024)] = Field(
        default=8, description="Least length of a new password, in bytes."
    )
    session_days: Annotated[int, Field(gt=0, le=3650)] = Field(
        default=30, description="Days after which a session ends in any case."
    )
    session_idle_days: Annotated[int, Field(gt=0, le=3650)] = Field(
        default=14, description="Days without a refresh after which a session ends."
    )

    public_url: str | None = Field(
        default=None,
        max_length=500,
        description="Where browsers reach the service, such as `https://api.example.com`: the base of links in mails "
        "and of OAuth callbacks, and of whether cookies need TLS.",
    )
    verify_email_url: str | None = Field(
        default=None,
        max_length=500,
        description="The page that links in mails open to confirm an address; the service's own page if unset.",
    )
    reset_password_url: str | None = Field(
        default=None,
        max_length=500,
        description="The page that links in mails open to choose a new password; the service's own page if unset.",
    )
    smtp_url: str | None = Field(
        default=None,
        repr=False,
        description="The mail server: `smtp://user:password@host:587` (STARTTLS where offered), `smtps://host:465`. "
        "Outside production mails are kept in the database if it is unset, and shown at /dev/mail with `debug`.",
    )
    mail_from: str | None = Field(
        default=None, max_length=320, description="The sender of mails, `Name <address>` or an address."
    )
    mail_templates: str | None = Field(
        default=None, description="A directory with templates of the application's own, before the kernel's."
    )

    database_name: str | None = Field(
        default=None,
        repr=False,
        description="A SQLite path (`./data/app.db` if unset), the name of a database on a server, or a database URL.",
        json_schema_extra=_env("DATABASE_PATH"),
    )
    database_type: Literal["sqlite", "postgres", "mysql"] = Field(
        default="sqlite", description="What `database_name` names if it is no URL; `mysql` is MariaDB too."
    )
    database_host: str = Field(
        default="localhost",
        min_length=1,
        max_length=255,
        description="Host of the database server, the directory of PostgreSQL's Unix socket, or the socket of MySQL.",
    )
    database_port: Annotated[int, Field(gt=0, lt=65536)] | None = Field(
        default=None, description="Port of the database server: 5432 for PostgreSQL and 3306 for MySQL if unset."
    )
    database_user: str | None = Field(default=None, min_length=1, description="Who signs in to the database server.")
    database_password: str | None = Field(default=None, repr=False, description="The password of `database_user`.")
    database_pool_size: Annotated[int, Field(gt=0, le=1000)] | None = Field(
        default=None,
        description="PostgreSQL and MySQL: most connections of one process for requests; a URL's own `?pool_size=` "
        "wins.",
    )
    database_synchronous: Literal["FULL", "NORMAL"] = Field(
        default="FULL",
        description="SQLite only. FULL: an acknowledged write survives a power cut. "
        "NORMAL: faster, and survives a crash of the process only.",
    )
    admin_db_url: str | None = Field(
        default=None,
        repr=False,
        description="The database of audit and metering. If unset: `app_admin.db` beside a SQLite file `app.db`, the "
        "schema `kernel_admin` of a PostgreSQL database, the database `shop_admin` beside `shop` of MySQL; and none at "
        "all while no feature needs one.",
    )
    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="Redis: `redis://`, `rediss://` or `unix://`. Background jobs are kept in it then, limits count "
        "over all processes, caches are shared by them, and what leaves for the admin database travels through its "
        "streams. On MySQL and MariaDB a service does not start without it.",
    )

    cors_origins: list[str] = Field(
        default=["*"], description="Origins that browsers may call from, or `*` (never with credentials)."
    )
    trusted_proxies: list[str] = Field(
        default=[], description="Addresses or networks whose X-Forwarded-For is believed."
    )
    rate_limit_enabled: bool = Field(
        default=True, description="Off: nobody is limited but by failed logins, which always are."
    )
    rate_limit_requests: Positive = Field(default=100, description="Requests a user may make in a window.")
    rate_limit_window: Positive = Field(default=60, description="The window, in seconds.")
    rate_limit_anonymous: Positive | None = Field(
        default=None,
        description="Requests that one address may make in a window without being signed in; unlimited if unset, but "
        "for the routes that sign in.",
    )
    rate_limit_auth_requests: Positive = Field(
        default=60, description="Requests that one address may make in a window to the routes that sign in."
    )
    max_body_bytes: Positive = Field(default=10 * 1024 * 1024, description="Largest request body accepted, in bytes.")
    body_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60, description="Seconds within which a request body must have arrived."
    )
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=0,
        description="Seconds for which a service that is told to stop (SIGTERM) serves on while /readyz says 503, so "
        "that a load balancer sends it nothing more by the time it closes; 0 closes at once.",
    )
    metrics_token: str | None = Field(
        default=None, repr=False, description="Bearer token for /metrics in production; admins may read it too."
    )
    outbox_lag_seconds: Annotated[float, Field(gt=0)] = Field(
        default=300, description="Age of the oldest message that has not left from which on /readyz names `outbox`."
    )
    docs_enabled: bool = Field(default=True, description="Serves /docs, /redoc and /openapi.json.")
    _problems: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _name_every_problem(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as exc:
            problems = [_describe(_place_of(error["loc"]), error["msg"]) for error in exc.errors()]
            raise ConfigurationError(problems) from None

    @classmethod
    def from_env(cls, env_file: str | Path | None = ".env", environ: Mapping[str, str] | None = None) -> Self:
        """The settings from environment variables, and from a `.env` file for those that are not set.

        A malformed value is no error yet: `create_service` reports all of them in one message, together with
        everything else that is wrong. Unknown variables are ignored.
        """
        values: dict[str, str] = {}
        if env_file is not None and Path(env_file).is_file():
            values.update({k: v for k, v in dotenv_values(env_file).items() if v is not None})
        values.update(os.environ if environ is None else environ)
        given: dict[str, Any] = {}
        problems: list[str] = []
        for field_name, field in cls.model_fields.items():
            variable = environment_name(field_name, field)
            text = values.get(variable, "")
            if text == "" or (text.isspace() and field_name not in KEPT_BLANK):
                continue
            try:
                given[field_name] = _parse(field, text)
            except ValueError as exc:
                problems.append(f"{variable}: {exc}")
        for variable in ("DATABASE_URL", "DATABASE_PATH", DATABASE_NAME):
            if values.get(variable, "").strip():
                given["database_name"] = values[variable].strip() if variable == "DATABASE_URL" else values[variable]
                break
        return cls._collect(given, problems)

    @classmethod
    def _collect(cls, given: dict[str, Any], problems: list[str]) -> Self:
        """Keeps what is well-formed and remembers the rest by the name of its variable."""
        good = dict(given)
        for field_name in list(given):
            try:
                cls(**{field_name: given[field_name]})
            except ConfigurationError as exc:
                del good[field_name]
                variable = environment_name(field_name, cls.model_fields[field_name])
                problems.extend(problem.replace(field_name, variable, 1) for problem in exc.problems)
        config = cls(**good)
        config._problems = tuple(problems)
        return config

    @property
    def problems(self) -> tuple[str, ...]:
        """What was malformed in the environment, one sentence each."""
        return self._problems

    @property
    def production(self) -> bool:
        """Whether weak settings are refused."""
        return self.environment == "production"

    @property
    def sealing_secrets(self) -> tuple[str, ...]:
        """What seals and opens, the current one first; empty when there is no secret at all."""
        own = (self.encryption_key, self.encryption_key_previous)
        # What was sealed before an encryption key was set is still readable with what it was derived from then.
        return tuple(secret for secret in (*own, self.jwt_secret, self.jwt_secret_previous) if secret)

    @property
    def runs_jobs(self) -> bool:
        """Whether the service runs its own background jobs."""
        return self.redis_url is None if self.embedded_worker is None else self.embedded_worker

    @property
    def names_url(self) -> bool:
        """Whether `database_name` is a URL, before which the other settings of the address do not count."""
        return "://" in (self.database_name or "")

    @property
    def database_url(self) -> str:
        """The URL of the app database."""
        name = self.database_name or DEFAULT_DATABASE
        if self.names_url:
            url = name
        elif self.database_type == "sqlite":
            url = f"sqlite:///{quote(name, safe='/:')}"
        else:
            server_url = postgres_url if self.database_type == "postgres" else mysql_url
            url = server_url(
                host=self.database_host,
                port=self.database_port,
                name=self.database_name or "",
                user=self.database_user,
                password=self.database_password,
            )
        if self.database_pool_size is None or backend_of(url) not in SERVER_SCHEMES or option_of(url, "pool_size"):
            return url
        return with_option(url, "pool_size", str(self.database_pool_size))

    @property
    def resolved_admin_db_url(self) -> str:
        """The URL of the admin database: the one that is set, else the one beside the app database."""
        return self.admin_db_url or admin_url_beside(self.database_url)

    def with_values(self, **changes: Any) -> Self:
        """A copy with other values, checked as a new one is."""
        given = {field_name: getattr(self, field_name) for field_name in self.model_fields_set}
        config = type(self)(**{**given, **changes})
        config._problems = self._problems  # noqa: SLF001 - of the same class
        return config


def environment_name(field_name: str, field: FieldInfo) -> str:
    """The environment variable of a field: its own where one is given, else its name in capitals."""
    extra = field.json_schema_extra
    return str(extra["env"]) if isinstance(extra, dict) and "env" in extra else field_name.upper()


def _parse(field: FieldInfo, text: str) -> Any:
    kind = str(field.annotation)
    if kind.startswith("dict"):
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise ValueError("must be a JSON object") from None
        if not isinstance(value, dict):
            raise ValueError("must be a JSON object")
        return value
    if kind.startswith("list"):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text if "str" in kind and "Literal" not in kind else text.strip()


def _place_of(loc: tuple[int | str, ...]) -> str:
    """The setting, and which part of it where it has parts with names."""
    names = [str(part) for part in loc[:2] if isinstance(part, str) and "[" not in part]
    return ".".join(names) or "settings"


def _describe(field_name: str, message: str) -> str:
    if message.startswith("Extra inputs"):
        return f"{field_name}: there is no such setting"
    return f"{field_name}: {message[:1].lower()}{message[1:]}"
