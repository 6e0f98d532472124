"""Counting by hand: a message that leaves with the commit."""

from datetime import datetime
from typing import Any

from app_kernel.core.current import current_kernel
from app_kernel.core.errors import AmbiguousKernel, MeteringError, NoRunningKernel, OutsideWorkspace
from app_kernel.core.feature import left_out
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.metering.counting import check_metrics, check_optional, check_text, day_of, make_count, make_message

FEATURE = "metering"
_NOWHERE = (
    "writes to the outbox of a service's database, and no service runs here: pass db=..., a handle of that database,"
    " and app=..., the service's name."
)


async def track_usage(
    redis: Any = None,
    *,
    app: str | None = None,
    user_id: str | None = None,
    workspace_id: str | None = None,
    endpoint: str | None = None,
    at: datetime | None = None,
    db: EntityStore | None = None,
    **metrics: int,
) -> None:
    """Counts metrics, such as `tokens=1500`, for the app and for the workspace and the user that are given.

    Inside `async with db.transaction()` they count exactly if that commits; outside it is a commit of its own. They
    count once, whatever is killed. `redis` may be None: the outbox of the app database carries them, through Redis
    where there is one. `app` is the service's name if it is left out, `db` its database. `at` is when it happened, now
    if left out; it decides the day, month and year in UTC. `endpoint` is a template such as "GET /widgets/{id}".

    Raises InvalidUsage (422) for what cannot be counted, MeteringError outside of a service without `db`, or in one
    that does not meter, and OutsideWorkspace for a handle that is bound to another workspace.
    """
    check_metrics(metrics)
    count = make_count(
        metrics,
        day=day_of(at),
        workspace_id=check_optional("workspace_id", workspace_id),
        user_id=check_optional("user_id", user_id),
        endpoint=check_optional("endpoint", endpoint),
    )
    name, handle = find_place("track_usage()", app, db)
    check_handle(handle, workspace_id)
    await handle.privileged.send_messages([make_message(name, [count])])


def find_place(who: str, app: str | None, db: EntityStore | None) -> tuple[str, EntityStore]:
    """The name of the app, and the database in whose outbox it counts; raises MeteringError, AmbiguousKernel."""
    kernel = None
    try:
        kernel = current_kernel()
    except NoRunningKernel:
        pass
    except AmbiguousKernel:
        if app is None or db is None:
            raise
    if kernel is not None:
        check_feature(kernel)
    if kernel is None and (app is None or db is None):
        raise MeteringError(f"{who} {_NOWHERE}")
    name = app if app is not None or kernel is None else kernel.name
    handle = db if db is not None or kernel is None else kernel.db.connection()
    if handle is None:
        raise MeteringError(f"{who} {_NOWHERE}")
    if kernel is not None and kernel.admin_is_open and handle.database is kernel.admin_store().database:
        # Nobody may carry the outbox of that one, and nothing of it would ever count then.
        raise MeteringError(f"{who} takes a handle of the app database, and this is one of the admin database.")
    return check_text("app", name), handle


def check_feature(kernel: Kernel) -> None:
    """Raises MeteringError in a service that does not meter: what is written there, nobody would ever count."""
    if any(feature.name == FEATURE for feature in kernel.features):
        return
    if not kernel.config.metering_enabled:
        raise MeteringError("This service does not meter: metering_enabled is off.")
    raise MeteringError(left_out(FEATURE))


def check_handle(db: EntityStore, workspace_id: str | None) -> None:
    """Raises OutsideWorkspace for a handle that is bound to another workspace than the one that is counted for."""
    if db.workspace_id is not None and db.workspace_id != workspace_id:
        raise OutsideWorkspace("Usage of another workspace is not counted through the handle of this one.")
