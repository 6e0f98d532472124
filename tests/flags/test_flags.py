"""Setting, evaluating and listing flags, on each backend."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import pytest

from app_kernel.core.clock import frozen
from app_kernel.core.context import acting_as
from app_kernel.core.errors import FlagNotFound, InvalidFlag
from app_kernel.db import connect
from app_kernel.flags import (
    check_flags,
    delete_flag,
    explain_flag,
    flag_enabled,
    flags,
    get_flag,
    get_flag_history,
    list_flags,
    list_unused_flags,
    set_flag,
)
from app_kernel.flags.flags import change_flag
from app_kernel.flags.values import MAX_LISTED
from tests.flags.serving import live_of, serving


async def test_a_flag_is_off_until_it_is_made_and_enabled(client):
    db = client.db
    assert await flag_enabled(db, "f", user_id="u") is False
    made = await set_flag(db, "f")
    assert (made["name"], made["enabled"], made["rollout_percent"]) == ("f", False, 100)
    assert await flag_enabled(db, "f", user_id="u") is False
    await set_flag(db, "f", enabled=True)
    assert await flag_enabled(db, "f", user_id="u") is True
    assert await flag_enabled(db, "f") is True


async def test_a_partial_change_keeps_the_rest(client):
    db = client.db
    made = await set_flag(db, "f", enabled=True, users=["u1"], workspaces=["w1"], description="Why.")
    assert made["rollout_percent"] == 0
    parts = {"rollout_percent": 33.33, "users": ["u2"], "workspaces": [], "description": "", "enabled": False}
    expected = dict(made)
    for part, value in parts.items():
        expected[part] = value
        changed = await set_flag(db, "f", **{part: value})
        assert {**changed, "updated_at": None} == {**expected, "updated_at": None}
        assert await get_flag(db, "f") == changed


async def test_lists_given_later_leave_a_percentage_as_it_is(client):
    await set_flag(client.db, "open", enabled=True)
    assert (await set_flag(client.db, "open", users=["u"]))["rollout_percent"] == 100
    await set_flag(client.db, "closed", enabled=True, users=["u"])
    # Else taking the last tester out would turn it on for everybody.
    assert (await set_flag(client.db, "closed", users=[]))["rollout_percent"] == 0
    assert await flag_enabled(client.db, "closed", user_id="u") is False


async def test_listed_users_and_workspaces_are_always_in(client):
    db = client.db
    await set_flag(db, "f", enabled=True, users=["u", 7, "u"], workspaces={"w2", "w1"}, rollout_percent=Decimal("0.01"))
    flag = await get_flag(db, "f")
    assert (flag["users"], flag["workspaces"], flag["rollout_percent"]) == (["u", "7"], ["w1", "w2"], 0.01)
    assert await flag_enabled(db, "f", user_id="u")
    assert await flag_enabled(db, "f", user_id=7)
    assert await flag_enabled(db, "f", user_id="other", workspace_id="w1")
    assert not await flag_enabled(db, "f", user_id="w1")
    assert (await explain_flag(db, "f", user_id="u")).reason == "user_listed"


async def test_a_name_may_be_a_member_of_an_enumeration(client):
    class Flags(StrEnum):
        DASHBOARD = "new_dashboard"

    assert (await set_flag(client.db, Flags.DASHBOARD, enabled=True))["name"] == "new_dashboard"
    assert await flag_enabled(client.db, Flags.DASHBOARD)
    assert await check_flags(client.db, [Flags.DASHBOARD]) == {"new_dashboard": True}


async def test_check_flags_answers_for_the_named_ones_or_all(client):
    await set_flag(client.db, "b", enabled=True)
    await set_flag(client.db, "a", enabled=True, users=["u"])
    assert await check_flags(client.db, user_id="u") == {"a": True, "b": True}
    assert await check_flags(client.db, ["b", "none", "a", "b"]) == {"b": True, "none": False, "a": False}


async def test_what_changed_is_kept_with_who_changed_it_also_when_the_flag_is_gone(client):
    db = client.db
    with acting_as("root"):
        await set_flag(db, "f", enabled=True)
        await set_flag(db, "f", enabled=True)
        await set_flag(db, "f", rollout_percent=10)
        assert await delete_flag(db, "f") is True
    with acting_as("other"):
        assert await delete_flag(db, "f") is False
        assert await flag_enabled(db, "f") is False
        await set_flag(db, "f", enabled=True, users=["u"])
    history = await get_flag_history(db, "f")
    assert [(each["action"], each["actor"]) for each in history] == [
        ("create", "root"),
        ("update", "root"),
        ("purge", "root"),
        ("create", "other"),
    ]
    assert history[1]["changes"] == {"rollout_percent": [100, 10]}
    assert await flag_enabled(db, "f", user_id="u") is True
    assert [each["name"] for each in await list_flags(db)] == ["f"]


async def test_events_are_told_after_the_commit_and_only_of_changes(database):
    events = []
    async with serving(database, events) as client:
        with acting_as("root"):
            await set_flag(client.db, "f", enabled=True)
            await set_flag(client.db, "f", enabled=True)
            with pytest.raises(RuntimeError):
                async with client.db.transaction():
                    await set_flag(client.db, "f", enabled=False)
                    raise RuntimeError
            async with client.db.transaction():
                await delete_flag(client.db, "f")
                assert len(events) == 1
    # The last one was told in a task of its own, for which the end of the service waits.
    assert [(event.name, event.actor_id, event.detail["flag"]) for event in events] == [
        ("flag.changed", "root", "f"),
        ("flag.deleted", "root", "f"),
    ]
    assert events[0].detail["enabled"] is True


@pytest.mark.acceptance("RL7")
async def test_a_change_counts_when_it_is_committed_and_before_that_only_in_its_transaction(client):
    db = client.db
    await set_flag(db, "f", enabled=False)

    async def elsewhere() -> tuple[bool, dict[str, bool]]:
        return await flag_enabled(db, "f"), await check_flags(db, ["f"])

    async def ask_elsewhere(loop_task_context) -> tuple[bool, dict[str, bool]]:
        return await asyncio.create_task(elsewhere(), context=loop_task_context.copy())

    import contextvars

    outside = contextvars.copy_context()
    for wanted, undone in ((True, True), (True, False)):
        try:
            async with db.transaction():
                await set_flag(db, "f", enabled=wanted)
                assert await flag_enabled(db, "f") is wanted
                assert await check_flags(db) == {"f": wanted}
                assert (await explain_flag(db, "f")).enabled is wanted
                live_of(client)._look()
                assert await ask_elsewhere(outside) == (False, {"f": False})
                if undone:
                    raise RuntimeError
        except RuntimeError:
            assert await flag_enabled(db, "f") is False
    assert await flag_enabled(db, "f") is True
    assert await ask_elsewhere(outside) == (True, {"f": True})


async def test_a_part_of_a_transaction_that_is_taken_back_takes_its_flag_with_it(client):
    db = client.db
    async with db.transaction():
        await set_flag(db, "kept", enabled=True)
        with pytest.raises(RuntimeError):
            async with db.transaction():
                await set_flag(db, "f", enabled=True)
                raise RuntimeError
        assert await check_flags(db) == {"kept": True}
    assert await check_flags(db) == {"kept": True}


async def test_two_tasks_that_change_one_flag_lose_nothing(client):
    db = client.db
    for number in range(5):
        name = f"f{number}"
        await asyncio.gather(
            set_flag(db, name, users=["u"]), set_flag(db, name, workspaces=["w"]), set_flag(db, name, enabled=True)
        )
        flag = await get_flag(db, name)
        assert (flag["users"], flag["workspaces"], flag["enabled"]) == (["u"], ["w"], True)


async def test_a_script_reads_each_time_and_what_it_sets_is_seen(database):
    async with connect(database) as script:
        assert await flag_enabled(script, "f") is False
        assert await list_flags(script) == []
        assert await delete_flag(script, "f") is False
        await set_flag(script, "f", enabled=True, users=["u"])
        async with connect(database) as other:
            assert await flag_enabled(other, "f", user_id="u") is True
            assert await check_flags(other, user_id="x") == {"f": False}
            await set_flag(other, "f", users=["x"])
        assert await flag_enabled(script, "f", user_id="u") is False
        assert (await explain_flag(script, "f", user_id="x")).reason == "user_listed"
        assert await list_unused_flags(script) == [], "it was made just now"
        with frozen(datetime.now(UTC) + timedelta(days=31)):
            assert [flag["name"] for flag in await list_unused_flags(script)] == ["f"]


async def test_each_service_of_a_process_has_the_flags_of_its_own_database(client):
    async with serving("sqlite://:memory:") as other:
        await set_flag(client.db, "here", enabled=True)
        await set_flag(other.db, "there", enabled=True)
        assert await check_flags(client.db, ["here", "there"]) == {"here": True, "there": False}
        assert await check_flags(other.db, ["here", "there"]) == {"here": False, "there": True}


async def test_a_handle_of_one_workspace_evaluates_and_sets_the_same_flags(client):
    db = client.db
    scoped = db.in_workspace("w")
    await set_flag(db, "f", enabled=True, workspaces=["w"])
    assert await flag_enabled(scoped, "f", workspace_id="w") is True
    await set_flag(scoped, "f", users=["u"])
    assert await flag_enabled(db, "f", user_id="u") is True
    assert (await get_flag(db, "f"))["workspaces"] == ["w"]


@pytest.mark.parametrize(
    "name", ["", "a b", "-a", "a,b", "a/b", "é", "a" * 101, "check", "unused", None, 7, ["f"], "a\n"]
)
async def test_names_that_no_flag_can_have(small_client, name):
    db = small_client.db
    for call in (
        flag_enabled(db, name),
        explain_flag(db, name),
        set_flag(db, name, enabled=True),
        get_flag(db, name),
        delete_flag(db, name),
        get_flag_history(db, name),
        check_flags(db, [name]),
    ):
        with pytest.raises(InvalidFlag):
            await call
    assert await list_flags(db) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"enabled": 1},
        {"enabled": "true"},
        {"rollout_percent": -0.01},
        {"rollout_percent": 100.01},
        {"rollout_percent": 0.001},
        {"rollout_percent": float("nan")},
        {"rollout_percent": float("inf")},
        {"rollout_percent": 10**400},
        {"rollout_percent": Decimal("sNaN")},
        {"rollout_percent": Decimal("NaN")},
        {"rollout_percent": True},
        {"rollout_percent": "10"},
        {"users": "user-1"},
        {"users": {"u": 1}},
        {"users": [""]},
        {"users": [None]},
        {"users": ["a\0b"]},
        {"users": ["u" * 192]},
        {"users": ["\ud800"]},
        {"workspaces": [f"w{number}" for number in range(MAX_LISTED + 1)]},
        {"workspaces": [True]},
        {"description": 7},
        {"description": "x" * 1001},
        {"description": "a\0b"},
    ],
    ids=str,
)
async def test_what_no_flag_can_have_changes_nothing(small_client, wrong):
    db = small_client.db
    before = await set_flag(db, "f", enabled=True, users=["u"])
    with pytest.raises(InvalidFlag):
        await set_flag(db, "f", **wrong)
    with pytest.raises(InvalidFlag):
        await set_flag(db, "new", **wrong)
    assert await list_flags(db) == [before]


async def test_there_are_only_so_many_flags_and_changing_one_needs_it(small_client, monkeypatch):
    db = small_client.db
    monkeypatch.setattr(flags, "MAX_FLAGS", 2)
    for name in ("a", "b"):
        await set_flag(db, name)
    with pytest.raises(InvalidFlag, match="2 flags"):
        await set_flag(db, "c")
    assert (await set_flag(db, "b", enabled=True))["enabled"]
    with pytest.raises(FlagNotFound):
        await change_flag(db, "c", {"enabled": True}, must_exist=True)
    with pytest.raises(InvalidFlag):
        await check_flags(db, "a,b")


async def test_unused_flags_are_those_that_nobody_evaluated_for_so_many_days(database):
    async with serving(database, frozen=datetime(2026, 1, 1, tzinfo=UTC)) as client:
        db, uses = client.db, live_of(client).uses
        for name in ("never", "once", "often", "gone"):
            await set_flag(db, name, enabled=True)
        for name in ("once", "often", "gone", "unknown"):
            await flag_enabled(db, name)
        await explain_flag(db, "never")
        await delete_flag(db, "gone")
        await uses.flush()
        client.clock.advance(30 * 86400)
        await set_flag(db, "never", description="Changed, and as old as before.")
        assert await list_unused_flags(db, 30) == [], "nobody has had the time to use them"
        client.clock.advance(86400)
        await set_flag(db, "young", enabled=True)
        await check_flags(db, ["often", "unknown"])
        # Noted is as good as written.
        assert [flag["name"] for flag in await list_unused_flags(db, 30)] == ["never", "once"]
        await uses.flush()
        assert [flag["name"] for flag in await list_unused_flags(db, 30)] == ["never", "once"]
        assert await list_unused_flags(db, 40) == []
        assert [flag["name"] for flag in await list_unused_flags(db, 1)] == ["never", "once"]
        assert (await get_flag(db, "once"))["last_evaluated_at"] == datetime(2026, 1, 1, tzinfo=UTC)
        assert (await get_flag(db, "often"))["last_evaluated_at"] == datetime(2026, 2, 1, tzinfo=UTC)
        # A use touches neither the flag's own row nor its history.
        assert [each["version"] for each in await get_flag_history(db, "often")] == [1]
        for days in (0, 1.5, True, 3651):
            with pytest.raises(InvalidFlag):
                await list_unused_flags(db, days)
