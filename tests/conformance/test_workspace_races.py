"""Workspaces that reach for one id at the same instant, and rows that move while they are written."""

import asyncio
import contextvars

import pytest

from app_kernel.core.errors import OutsideWorkspace

pytestmark = pytest.mark.acceptance("AZ2")


def elsewhere(work):
    """A task of its own, which has no part in the transaction that is open here."""
    return contextvars.Context().run(asyncio.create_task, work)


SAVES = {
    "a save": lambda handle, given: handle.save_entity("notes", given),
    "a save of many": lambda handle, given: handle.save_entities("notes", [{"x": 0}, given]),
    "an upsert": lambda handle, given: handle.save_entity("notes", given, match_by=["name"]),
    "an upsert of many": lambda handle, given: handle.save_entities("notes", [given], match_by=["name"]),
}


@pytest.mark.parametrize("save", SAVES)
async def test_of_two_workspaces_that_save_to_one_id_at_once_the_first_has_it(place, save):
    handles = [(await place.open()).in_workspace(name) for name in ("a", "b")]
    everybody = await place.open()
    await everybody.save_entity("notes", {"id": "old", "x": 1, "name": "", "workspace_id": "c"})
    for number in range(6):
        answers = await asyncio.gather(
            *(
                SAVES[save](handle, {"id": f"n{number}", "name": f"{number} of {handle._workspace}", "x": 1})
                for handle in handles * 2
            ),
            return_exceptions=True,
        )
        row = await everybody.get_entity("notes", f"n{number}")
        history = await everybody.find_entities("notes_history", "[id] = ?", (f"n{number}",))
        winner = row["workspace_id"]
        lost = [isinstance(answer, OutsideWorkspace) for answer in answers]
        assert lost == [handle._workspace != winner for handle in handles * 2], answers
        assert {(kept["workspace_id"], kept["name"]) for kept in history} == {(winner, f"{number} of {winner}")}


@pytest.mark.parametrize("change", ["made", "moved", "purged"])
async def test_a_save_that_waits_for_another_workspace_is_refused_once_that_has_committed(place, change):
    db, other = await place.open(), await place.open()
    a, b = db.in_workspace("a"), other.in_workspace("b")
    await a.save_entity("notes", {"id": "free", "x": 0, "name": ""})
    ids = [f"n{number}" for number in range(5)]
    if change != "made":
        await (a if change == "moved" else b).save_entities("notes", [{"id": id, "x": 0, "name": id} for id in ids])
    await other.get_entity("notes", "free")
    async with other.transaction():
        for id in ids:
            if change == "purged":
                await b.delete_entity("notes", id, permanent=True)
            else:
                await other.save_entity("notes", {"id": id, "workspace_id": "b", "x": 1})
        waiting = [
            elsewhere(save(a, {"id": id, "x": 2, "name": f"{id} of a"}))
            for id, save in zip(ids, SAVES.values(), strict=False)
        ]
        if change == "moved":
            waiting.append(elsewhere(a.save_entity("notes", {"id": ids[4], "x": 2}, expected_version=1)))
        await asyncio.sleep(0.2)
        assert not any(task.done() for task in waiting) or change == "purged"
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {OutsideWorkspace}, answers
    assert [row["id"] for row in await a.find_entities("notes")] == ["free"]
    assert {kept["x"] for kept in await other.find_entities("notes_history")} <= {0, 1}


CHANGES = {
    "delete_entity": lambda handle: handle.delete_entity("notes", "n"),
    "delete_entities": lambda handle: handle.delete_entities("notes", ["n"], permanent=True),
    "restore_entity": lambda handle: handle.restore_entity("notes", "n"),
    "increment": lambda handle: handle.increment("notes", "n", "x"),
}


async def test_a_row_that_moves_away_is_absent_for_the_verbs_that_waited_for_it(place):
    db, other = await place.open(), await place.open()
    a = db.in_workspace("a")
    await a.save_entity("notes", {"id": "n", "x": 0})
    await other.get_entity("notes", "n")
    async with other.transaction():
        await other.save_entity("notes", {"id": "n", "workspace_id": "b"})
        waiting = [elsewhere(change(a)) for change in CHANGES.values()]
        await asyncio.sleep(0.2)
    assert await asyncio.gather(*waiting) == [False, 0, None, None]
    row = await other.get_entity("notes", "n")
    assert (row["workspace_id"], row["x"], row["_version"]) == ("b", 0, 2)


async def test_nothing_is_ever_written_to_a_row_while_it_is_another_workspaces(place):
    everybody = await place.open()
    handles = {name: (await place.open()).in_workspace(name) for name in ("a", "b")}
    await everybody.save_entity("notes", {"id": "n", "workspace_id": "a", "by": "a", "n": 0})
    refused = dict.fromkeys(handles, 0)
    done = asyncio.Event()

    async def write(name):
        number = 0
        while not done.is_set():
            number += 1
            given = {"id": "n", "by": name, "n": number}
            try:
                if number % 3:
                    await handles[name].save_entity("notes", given)
                else:
                    await handles[name].save_entities("notes", [given])
            except OutsideWorkspace:
                refused[name] += 1

    async def move():
        turn = 0
        # Until both have come too late once, however seldom a busy machine lets them.
        while turn < 40 or (not all(refused.values()) and turn < 4000):
            owner, turn = "ba"[turn % 2], turn + 1
            await everybody.save_entity("notes", {"id": "n", "workspace_id": owner, "by": owner})
            await asyncio.sleep(0)
        done.set()

    await asyncio.gather(move(), *(write(name) for name in handles for _ in range(2)))
    history = await everybody.find_entities("notes_history")
    assert {(kept["workspace_id"], kept["by"]) for kept in history} == {("a", "a"), ("b", "b")}
    assert min(refused.values()) > 0
    assert len(history) > 40


async def test_upserts_of_two_workspaces_at_once_make_one_row_in_each(place):
    handles = [(await place.open()).in_workspace(name) for name in ("a", "b")]
    everybody = await place.open()
    await everybody.save_entity("people", {"email": "other", "n": 0, "workspace_id": "c"})
    saves = [
        save
        for handle in handles
        for n in range(6)
        for save in (
            handle.save_entity("people", {"email": "same", "n": n}, match_by=["email"]),
            handle.save_entities("people", [{"email": "same", "n": n}], match_by=["email"]),
            everybody.save_entity(
                "people",
                {"email": "same", "workspace_id": handle._workspace, "n": n},
                match_by=["email", "workspace_id"],
            ),
        )
    ]
    await asyncio.gather(*saves)
    rows = await everybody.find_entities("people", "[email] = 'same'")
    assert sorted(row["workspace_id"] for row in rows) == ["a", "b"]


@pytest.mark.parametrize("fields", [["email"], ["email", "workspace_id"]])
async def test_an_upsert_waits_for_one_through_the_handle_of_no_workspace(place, fields):
    db, other = await place.open(), await place.open()
    await db.save_entity("people", {"email": "other", "n": 0, "workspace_id": "a"})
    await other.count_entities("people")
    given = {"email": "same", "n": 1}
    async with other.transaction():
        first = await other.save_entity("people", {**given, "workspace_id": "a"}, match_by=fields)
        a = db.in_workspace("a")
        waiting = [
            elsewhere(a.save_entity("people", {**given, "n": 2}, match_by=["email"])),
            elsewhere(a.save_entities("people", [{**given, "n": 3}], match_by=["email"])),
        ]
        await asyncio.sleep(0.2)
    rows = await asyncio.gather(*waiting)
    assert {rows[0]["id"], rows[1][0]["id"]} == {first["id"]}
