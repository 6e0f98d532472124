"""Whose account an identity of a provider signs in to, and how identities are linked and taken away.

An identity that was never seen here is linked to an existing account only where both sides have confirmed the same
address. Else whoever made an account with another person's address before them, or told a provider an address that it
never confirmed, would share what is not theirs (account pre-hijacking: Sudhodanan and Paverd, USENIX Security 2022).
"""

from collections.abc import Collection, Mapping
from typing import Any

from app_kernel.core.context import current_context
from app_kernel.core.errors import (
    AccountExists,
    AlreadyLinked,
    LastSignInMethod,
    LinkRequired,
    NotAuthenticated,
    SignInRefused,
    SignupDisabled,
    UnknownProvider,
)
from app_kernel.core.events import SecurityEvent
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Account, Accounts, EntityStore
from app_kernel.oauth import store
from app_kernel.oauth.providers import ProviderIdentity

ATTEMPTS = 3
"""How often a sign-in that lost a race for an email or an identity is looked at again."""


class Linking:
    """Accounts and their identities elsewhere, of one service."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @property
    def accounts(self) -> Accounts:
        """The accounts of the service."""
        return self._kernel.port(Accounts)  # type: ignore[type-abstract]  # a port is asked for by its protocol

    async def account_for(self, db: EntityStore, identity: ProviderIdentity) -> str:
        """The id of the account that this identity signs in to, which is made or linked where that is allowed.

        Raises LinkRequired, SignupDisabled, SignInRefused, AlreadyLinked, and what the accounts refuse.
        """
        for _ in range(ATTEMPTS):
            try:
                return await self._find_or_make(db, identity)
            except (AccountExists, AlreadyLinked):
                # Somebody else made the account or the link at this moment, most likely the user in another tab.
                continue
        return await self._find_or_make(db, identity)

    async def link(self, db: EntityStore, user_id: str, identity: ProviderIdentity, *, verified: bool) -> None:
        """Links an identity to the account of a signed-in user; does nothing where it is linked to it already.

        `verified` says whether the account's address was confirmed when they asked for it. If that changed meanwhile
        they need not be its owner any more. Raises AlreadyLinked when it is another account's, or the account has
        another one of this provider, and SignInRefused.
        """
        account = await self.accounts.get_account(db, user_id)
        if account is None or not account.is_active:
            raise NotAuthenticated
        if account.email_verified != verified:
            raise SignInRefused
        linked = await self._linked(db, identity)
        if linked is None:
            await self._insert(db, account, identity)
        elif linked["user_id"] != user_id:
            raise AlreadyLinked

    async def unlink(self, db: EntityStore, user_id: str, provider: str, usable: Collection[str]) -> None:
        """Takes an identity away from an account.

        `usable` are the providers that are configured: a link to another one signs nobody in. Raises UnknownProvider
        when there is no such link, and LastSignInMethod when nothing else would be left; of several at the same time
        the last one is refused.
        """
        async with db.transaction():
            rows = await store.hold_identities(db, user_id)
            mine = next((row for row in rows if row["provider"] == provider), None)
            if mine is None:
                raise UnknownProvider("This account is not linked to this provider.")
            account = await self.accounts.get_account(db, user_id)
            others = [row for row in rows if row is not mine and row["provider"] in usable and _counts(row, account)]
            if not others and not (account is not None and account.has_password):
                raise LastSignInMethod
            await store.delete_identity(db, mine["id"])
            await self.report("oauth.unlinked", user_id, provider=provider)

    async def report(self, name: str, user_id: str | None, **detail: Any) -> None:
        """Tells the security log."""
        context = current_context()
        await self._kernel.emit(SecurityEvent(name, user_id, context.address, detail, context.actor_id))

    async def _find_or_make(self, db: EntityStore, identity: ProviderIdentity) -> str:
        linked = await self._linked(db, identity)
        if linked is not None:
            return str(linked["user_id"])
        # The same words whether the account exists or not: who confirmed nothing learns nothing.
        if identity.email is None or not identity.email_verified:
            raise LinkRequired(
                "The provider does not confirm your email address; sign in here in another way first and link the"
                " provider there."
            )
        account = await self.accounts.find_account(db, identity.email)
        if account is None:
            return await self._sign_up(db, identity, identity.email)
        if not account.email_verified:
            raise LinkRequired
        await self._insert(db, account, identity)
        return account.id

    async def _sign_up(self, db: EntityStore, identity: ProviderIdentity, email: str) -> str:
        if not self._kernel.config.allow_self_signup:
            raise SignupDisabled
        async with db.transaction():
            user = await self.accounts.create_user(db, email, None, name=identity.name, email_verified=True)
            account = await self.accounts.get_account(db, user.id)
            if account is None:
                raise SignInRefused
            await self._insert(db, account, identity)
        return user.id

    async def _linked(self, db: EntityStore, identity: ProviderIdentity) -> Mapping[str, Any] | None:
        """The link of an identity; one that does not count any more is taken away."""
        row = await store.find_identity(db, identity.provider, identity.issuer, identity.subject)
        if row is None or _counts(row, await self.accounts.get_account(db, row["user_id"])):
            return row
        await store.delete_identity(db, row["id"])
        return None

    async def _insert(self, db: EntityStore, account: Account, identity: ProviderIdentity) -> None:
        same = identity.email_verified and await self._is_email_of(db, account, identity.email)
        values = {
            "provider": identity.provider,
            "issuer": identity.issuer,
            "subject": identity.subject,
            "user_id": account.id,
            "email": identity.email,
            "email_confirmed": account.email_verified or same,
        }
        async with db.transaction():
            await store.insert_identity(db, values)
            await self.report("oauth.linked", account.id, provider=identity.provider)

    async def _is_email_of(self, db: EntityStore, account: Account, email: str | None) -> bool:
        found = await self.accounts.find_account(db, email) if email is not None else None
        return found is not None and found.id == account.id


def _counts(link: Mapping[str, Any], account: Account | None) -> bool:
    """Whether a link may still sign in.

    Not when its account is gone, and not when it was made before somebody confirmed the account's address, who need
    not be the one who made the account and linked an identity of their own to it. An identity whose provider confirmed
    that same address is the owner's.
    """
    return account is not None and (bool(link["email_confirmed"]) or not account.email_verified)


async def forget_user(kernel: Kernel, user_id: str) -> None:
    """Takes the links of an account away that is being deleted, in the same commit."""
    await store.delete_identities(kernel.db.connection(), user_id)


async def forget_early_links(kernel: Kernel, user_id: str) -> None:
    """Takes away what does not count any more now that the account's address is confirmed: see `_counts`."""
    await store.delete_identities(kernel.db.connection(), user_id, email_confirmed=False)
