"""Evaluating, setting and listing flags, from routes, jobs and scripts alike."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from app_kernel.core import clock
from app_kernel.core.context import current_context
from app_kernel.core.errors import FlagNotFound, InvalidFlag
from app_kernel.core.events import SecurityEvent
from app_kernel.core.models import HistoryEntry
from app_kernel.core.ports import EntityStore
from app_kernel.flags import store
from app_kernel.flags.live import Rules, flags_of, note_uncommitted, sees_uncommitted
from app_kernel.flags.rollout import ON, Explanation, Rule, decide, default_percent, explain, rule_of, subject_of
from app_kernel.flags.values import check_flag_name, check_names, checked_values

MAX_FLAGS = 1000
"""Flags that a database may have: each is kept in memory by every process."""
MAX_UNUSED_DAYS = 3650

Row = dict[str, Any]


async def flag_enabled(
    db: EntityStore, name: str, *, user_id: str | None = None, workspace_id: str | None = None
) -> bool:
    """Whether the flag is on for this user, in this workspace.

    Off when the flag is unknown or disabled; on for users and workspaces that it lists; else by its percentage, for
    which the user counts, without one the workspace, and without either it is off unless it is 100. In a service it is
    decided in memory, by what was committed a second ago at the latest; a script (`connect(url)`) reads each time.
    Raises InvalidFlag for a name that no flag can have and for an id that is none, and Unavailable when the flags were
    never read.
    """
    return decide(await _find_rule(db, name), subject_of(user_id), subject_of(workspace_id)) in ON


async def explain_flag(
    db: EntityStore, name: str, *, user_id: str | None = None, workspace_id: str | None = None
) -> Explanation:
    """The same, with the reason; it does not count as an evaluation."""
    rule = await _find_rule(db, name, count=False)
    return explain(name, rule, subject_of(user_id), subject_of(workspace_id))


async def check_flags(
    db: EntityStore,
    names: Collection[str] | None = None,
    *,
    user_id: str | None = None,
    workspace_id: str | None = None,
) -> dict[str, bool]:
    """Whether each of these flags, or of all that there are, is on, as `flag_enabled` says; for a front end."""
    user, workspace = subject_of(user_id), subject_of(workspace_id)
    wanted = None if names is None else check_names(names)
    live = flags_of(db)
    if live is None or sees_uncommitted():
        rules: Rules = {row["id"]: rule_of(row) for row in await store.all_rows(_everybodys(db))}
    else:
        rules = await live.current()
    checked = sorted(rules) if wanted is None else wanted
    if live is not None:
        live.evaluations += len(checked)
        live.uses.note(*(name for name in checked if name in rules))
    return {name: decide(rules.get(name), user, workspace) in ON for name in checked}


async def set_flag(
    db: EntityStore,
    name: str,
    *,
    enabled: bool | None = None,
    rollout_percent: float | Decimal | None = None,
    workspaces: Collection[str] | None = None,
    users: Collection[str] | None = None,
    description: str | None = None,
) -> Row:
    """Makes a flag, or changes what is given of one, and returns it.

    A new flag is disabled unless `enabled` says otherwise, and its `rollout_percent` (0 to 100, steps of 0.01) is 100
    without lists and 0 with lists; later on it changes only when it is given. A list that is given takes the place of
    the one before; an empty one lists nobody. It takes effect with the open transaction: at once in this process, in
    others within a second. Raises InvalidFlag.
    """
    parts = {
        "enabled": enabled,
        "rollout_percent": rollout_percent,
        "workspaces": workspaces,
        "users": users,
        "description": description,
    }
    flag, _ = await change_flag(db, name, {part: value for part, value in parts.items() if value is not None})
    return flag


async def change_flag(
    db: EntityStore, name: str, given: Mapping[str, Any], *, must_exist: bool = False
) -> tuple[Row, bool]:
    """As `set_flag`: the flag, and whether it is new; raises FlagNotFound where it must be there and is not."""
    name, values, db = check_flag_name(name), checked_values(given), _everybodys(db)
    await store.ensure_flag_tables(db)
    row = await store.get_row(db, name)
    if row is not None and not _differences(row, values):
        return await _with_use(db, row), False
    async with db.transaction():
        await store.hold_flags(db)
        # Again, as nobody else changes it from here on.
        row = await store.get_row(db, name)
        if row is None and must_exist:
            raise FlagNotFound
        changed = await _new_values(db, values) if row is None else _differences(row, values)
        saved = await store.save_row(db, name, changed)
        detail = {"changed": sorted(changed), "enabled": saved["enabled"], "rollout_percent": saved["rollout_percent"]}
        await _note_change(db, "flag.changed", name, detail)
    return await _with_use(db, saved), row is None


async def delete_flag(db: EntityStore, name: str) -> bool:
    """Removes a flag, which is then off for everybody; its history stays. False when there was none."""
    name, db = check_flag_name(name), _everybodys(db)
    if await store.get_row(db, name) is None:
        return False
    async with db.transaction():
        await store.hold_flags(db)
        deleted = await store.delete_row(db, name)
        if deleted:
            await _note_change(db, "flag.deleted", name, {})
    return deleted


async def get_flag(db: EntityStore, name: str) -> Row | None:
    """The flag as the database has it, or None; raises InvalidFlag for a name that no flag can have."""
    db = _everybodys(db)
    row = await store.get_row(db, check_flag_name(name))
    return None if row is None else await _with_use(db, row)


async def list_flags(db: EntityStore, *, limit: int = MAX_FLAGS, offset: int = 0) -> list[Row]:
    """The flags as the database has them, in the order of their names."""
    db = _everybodys(db)
    return await _with_uses(db, await store.list_rows(db, limit, offset))


async def list_unused_flags(db: EntityStore, days: int = 30) -> list[Row]:
    """The flags that are older than so many days and that no service evaluated since, in the order of their names.

    What another process evaluated in the last minute may not be written yet, and an evaluation by a script counts
    nowhere. Raises InvalidFlag for days that are no whole number from 1 to 3650.
    """
    if type(days) is not int or not 1 <= days <= MAX_UNUSED_DAYS:
        raise InvalidFlag(f"`days` is a whole number from 1 to {MAX_UNUSED_DAYS}.")
    live = flags_of(db)
    noted = set() if live is None else live.uses.names
    before = clock.now() - timedelta(days=days)
    # Of one that is younger nobody can say yet whether it is used.
    old = [flag for flag in await list_flags(db) if flag["created_at"] < clock.to_text(before)]
    return [flag for flag in old if flag["name"] not in noted and _is_older(flag["last_evaluated_at"], before)]


async def get_flag_history(db: EntityStore, name: str) -> list[HistoryEntry]:
    """Who changed what of a flag and when, the oldest change first, also when the flag is gone."""
    return await store.history_of(_everybodys(db), check_flag_name(name))


async def _find_rule(db: EntityStore, name: str, *, count: bool = True) -> Rule | None:
    if name.__class__ is not str:
        check_flag_name(name)
    live = flags_of(db)
    if live is None or sees_uncommitted():
        row = await store.get_row(_everybodys(db), check_flag_name(name))
        rule = None if row is None else rule_of(row)
    else:
        live.evaluations += count
        rule = (await live.current()).get(name)
    if rule is None:
        check_flag_name(name)
    elif count and live is not None and name not in live.uses.names:
        live.uses.note(name)
    return rule


def _everybodys(db: EntityStore) -> EntityStore:
    """Flags belong to no workspace, whichever one the handle is bound to."""
    live = flags_of(db)
    return db if live is None else live.db


def _differences(row: Row, values: Mapping[str, Any]) -> Row:
    return {field: value for field, value in values.items() if row[field] != value}


async def _new_values(db: EntityStore, values: Row) -> Row:
    if await store.count_rows(db) >= MAX_FLAGS:
        raise InvalidFlag(f"There are {MAX_FLAGS} flags, which is the most: delete some that nobody uses.")
    users, workspaces = values.get("users", []), values.get("workspaces", [])
    defaults = {
        "enabled": False,
        "rollout_percent": default_percent(users, workspaces),
        "workspaces": [],
        "users": [],
        "description": "",
    }
    return {**defaults, **values}


async def _note_change(db: EntityStore, event: str, name: str, detail: Mapping[str, Any]) -> None:
    """Publishes a change, and tells of it, once it is committed, and never before."""
    note_uncommitted()
    live = flags_of(db)
    if live is None:
        return  # a script: services find out when they look
    db.after_commit(live.publish)
    context = current_context()
    actor = context.actor_id if context.user is None else context.user.id
    await live.kernel.emit(SecurityEvent(event, None, context.address, {"flag": name, **detail}, actor))


async def _with_use(db: EntityStore, row: Row) -> Row:
    return (await _with_uses(db, [row]))[0]


async def _with_uses(db: EntityStore, rows: list[Row]) -> list[Row]:
    """What may be shown of flags: their names in place of ids, and when they were evaluated."""
    uses = await store.last_uses(db, [row["id"] for row in rows])
    kept = ("enabled", "rollout_percent", "workspaces", "users", "description")
    dates = ("created_at", "updated_at", "created_by", "updated_by")
    return [
        {
            "name": row["id"],
            **{field: row[field] for field in (*kept, *dates)},
            "last_evaluated_at": uses.get(row["id"]),
        }
        for row in rows
    ]


def _is_older(instant: datetime | None, before: datetime) -> bool:
    return instant is None or instant < before
