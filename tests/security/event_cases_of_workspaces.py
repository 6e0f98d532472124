"""What leads to the security events of workspaces, webhooks and flags; with it, `CASES` is complete."""

from app_kernel.auth.registration import confirm
from app_kernel.core import clock
from app_kernel.flags import delete_flag, set_flag
from app_kernel.saas import (
    accept_invite,
    add_member,
    cancel_invite,
    choose_workspace,
    create_invite,
    create_workspace,
    decline_invite,
    delete_workspace,
    remove_member,
    resend_invite,
    restore_workspace,
    set_member_role,
    transfer_ownership,
)
from app_kernel.webhooks import (
    create_webhook,
    delete_webhook,
    disable_webhook,
    enable_webhook,
    rotate_webhook_secret,
    update_webhook,
)
from app_kernel.webhooks.health import note_gone
from app_kernel.webhooks.store import get_webhook
from tests.security.event_cases import CASES, Steps, link, tells, workspace
from tests.security.event_world import World

__all__ = ["CASES"]

HOOK = {"url": "https://hooks.example.com/in", "events": ["*"]}


@tells("workspace.created")
async def a_workspace_made(w: World) -> Steps:
    ada = await w.person()
    yield
    await create_workspace(w.db, "Engines", ada.id)


@tells("workspace.deleted")
async def a_workspace_deleted(w: World) -> Steps:
    place, (owner,) = await workspace(w)
    yield
    await delete_workspace(w.db, place, by=owner.id)


@tells("workspace.restored")
async def a_workspace_restored(w: World) -> Steps:
    place, (owner,) = await workspace(w)
    await delete_workspace(w.db, place, by=owner.id)
    yield
    await restore_workspace(w.db, place, by=owner.id)


@tells("workspace.joined")
async def a_member_added_by_code(w: World) -> Steps:
    (place, _), eve = await workspace(w), await w.person()
    yield
    await add_member(w.db, place, eve.id)


@tells("workspace.joined")
async def an_invite_accepted(w: World) -> Steps:
    (place, (owner,)), eve = await workspace(w), await w.person()
    invite = await create_invite(w.db, place, eve.email, by=owner.id)
    yield
    await accept_invite(w.db, invite["token"], eve.id)


@tells("workspace.left")
async def a_member_who_leaves(w: World) -> Steps:
    place, (_, eve) = await workspace(w, "member")
    yield
    await remove_member(w.db, place, eve.id, by=eve.id)


@tells("workspace.member_removed")
async def a_member_sent_away(w: World) -> Steps:
    place, (owner, eve) = await workspace(w, "member")
    yield
    await remove_member(w.db, place, eve.id, by=owner.id)


@tells("workspace.role_changed")
async def another_role_in_a_workspace(w: World) -> Steps:
    place, (owner, eve) = await workspace(w, "member")
    yield
    await set_member_role(w.db, place, eve.id, "admin", by=owner.id)


@tells("workspace.ownership_transferred", "workspace.ownership_transferred")
async def another_owner(w: World) -> Steps:
    place, (owner, eve) = await workspace(w, "member")
    yield
    await transfer_ownership(w.db, place, owner.id, eve.id)


@tells("workspace.invited")
async def an_invite(w: World) -> Steps:
    place, (owner,) = await workspace(w)
    yield
    await create_invite(w.db, place, "guest@example.com", by=owner.id)


@tells("workspace.invited")
async def an_invite_sent_again(w: World) -> Steps:
    place, (owner,) = await workspace(w)
    invite = await create_invite(w.db, place, "guest@example.com", by=owner.id)
    yield
    await resend_invite(w.db, place, invite["id"], by=owner.id)


@tells("workspace.invite_cancelled")
async def an_invite_taken_back(w: World) -> Steps:
    place, (owner,) = await workspace(w)
    invite = await create_invite(w.db, place, "guest@example.com", by=owner.id)
    yield
    await cancel_invite(w.db, place, invite["id"], by=owner.id)


@tells("workspace.invite_cancelled")
async def an_invite_declined(w: World) -> Steps:
    (place, (owner,)), eve = await workspace(w), await w.person()
    invite = await create_invite(w.db, place, eve.email, by=owner.id)
    yield
    await decline_invite(w.db, invite["token"], eve.id)


@tells("workspace.invite_cancelled", "auth.email_verified")
async def invites_of_who_was_not_the_owner_of_the_address(w: World) -> Steps:
    ada = await w.person(verified=False)
    made = await create_workspace(w.db, "Engines", ada.id)
    await create_invite(w.db, made["id"], "guest@example.com", by=ada.id)
    token = await link(w, ada, "verify")
    yield
    await confirm(w.db, w.issuer, token, None, None)


@tells("workspace.selected")
async def a_workspace_chosen(w: World) -> Steps:
    place, (owner,) = await workspace(w)
    yield
    await choose_workspace(w.db, owner.id, place)


# --- webhooks and flags


@tells("webhook.created")
async def a_webhook_made(w: World) -> Steps:
    yield
    await create_webhook(w.db, None, **HOOK)


@tells("webhook.changed")
async def a_webhook_changed(w: World) -> Steps:
    made = await create_webhook(w.db, None, **HOOK)
    yield
    await update_webhook(w.db, made["id"], events=["deployment.*"])


@tells("webhook.deleted")
async def a_webhook_deleted(w: World) -> Steps:
    made = await create_webhook(w.db, None, **HOOK)
    yield
    assert await delete_webhook(w.db, made["id"])


@tells("webhook.secret_rotated")
async def another_secret(w: World) -> Steps:
    made = await create_webhook(w.db, None, **HOOK)
    yield
    await rotate_webhook_secret(w.db, made["id"])


@tells("webhook.disabled")
async def a_webhook_disabled_by_hand(w: World) -> Steps:
    made = await create_webhook(w.db, None, **HOOK)
    yield
    await disable_webhook(w.db, made["id"])


@tells("webhook.disabled")
async def a_webhook_whose_receiver_is_gone(w: World) -> Steps:
    made = await create_webhook(w.db, None, **HOOK)
    row = await get_webhook(w.db, made["id"])
    assert row is not None
    yield
    await note_gone(w.kernel, w.db, row)


@tells("webhook.enabled")
async def a_webhook_enabled_again(w: World) -> Steps:
    made = await create_webhook(w.db, None, **HOOK)
    await disable_webhook(w.db, made["id"])
    yield
    await enable_webhook(w.db, made["id"])


@tells("flag.changed")
async def a_flag_made(w: World) -> Steps:
    yield
    await set_flag(w.db, f"flag_{clock.new_id()}", enabled=True)


@tells("flag.changed")
async def a_flag_changed(w: World) -> Steps:
    name = f"flag_{clock.new_id()}"
    await set_flag(w.db, name, enabled=True)
    yield
    await set_flag(w.db, name, enabled=False)


@tells("flag.deleted")
async def a_flag_deleted(w: World) -> Steps:
    name = f"flag_{clock.new_id()}"
    await set_flag(w.db, name, enabled=True)
    yield
    assert await delete_flag(w.db, name)
