"""Accounts for the features that need them: the port Accounts."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app_kernel.auth import store
from app_kernel.auth.accounts import create_user, get_user
from app_kernel.auth.answers import sign_in_response
from app_kernel.auth.identifiers import canonical_email
from app_kernel.auth.issuer import Issuer
from app_kernel.auth.sign_in import prove_owner, require_user, start_session
from app_kernel.core.errors import InvalidEmail, InvalidToken, NotAuthenticated
from app_kernel.core.identity import UserIdentity
from app_kernel.core.ports import Account, EntityStore


class KernelAccounts:
    """The port Accounts of one service."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def create_user(
        self,
        db: EntityStore,
        email: str,
        password: str | None,
        *,
        role: str = "user",
        name: str | None = None,
        email_verified: bool = False,
    ) -> UserIdentity:
        """Makes an account; raises AccountError when it cannot be made as asked."""
        return await create_user(db, email, password, role=role, name=name, email_verified=email_verified)

    async def get_user(self, db: EntityStore, user_id: str) -> UserIdentity | None:
        """The account with this id, or None."""
        return await get_user(db, user_id)

    async def get_account(self, db: EntityStore, user_id: str) -> Account | None:
        """The account with this id and its ways to sign in, or None."""
        return _account_of(await store.get_user_row(db, user_id))

    async def find_account(self, db: EntityStore, email: str) -> Account | None:
        """The account with this email in any spelling of it, or None."""
        try:
            canonical = canonical_email(email, allow_test_domains=True)
        except InvalidEmail:
            return None
        return _account_of(await store.find_user_row(db, "email", canonical))

    async def list_accounts(self, db: EntityStore, user_ids: Sequence[str]) -> list[Account]:
        """The accounts with these ids that are there, in the order of the ids."""
        return [_account(row) for row in await store.get_user_rows(db, user_ids)]

    def canonical_email(self, email: str) -> str:
        """The spelling of an address that its account would have; raises InvalidEmail."""
        return canonical_email(email, allow_test_domains=not self._issuer.config.production)

    async def prove_owner(self, request: Request, db: EntityStore, user_id: str, password: str | None) -> None:
        """Returns when the caller has shown that the account is theirs; raises PermissionDenied, NotAuthenticated."""
        claims = self._issuer.live.find_claims(request.scope)
        if claims is None or claims.user_id != user_id:
            raise NotAuthenticated
        user = await require_user(db, user_id)
        await prove_owner(db, self._issuer, user, claims.session_id, password)

    async def hold_account(self, db: EntityStore, user_id: str) -> None:
        """Makes whoever else holds the account, or ends its sessions, wait for the open transaction's end."""
        await store.take_account_turn(db, user_id)

    async def require_session(self, request: Request, db: EntityStore, user_id: str) -> None:
        """Holds the account and reads the caller's session and account anew; raises NotAuthenticated."""
        claims = self._issuer.live.find_claims(request.scope)
        if claims is None or claims.user_id != user_id:
            raise NotAuthenticated
        await store.take_account_turn(db, user_id)
        session = await self._issuer.find_live(db, user_id, claims.session_id)
        user = await store.get_user_row(db, user_id)
        if session is None or user is None or not user["is_active"]:
            raise InvalidToken

    async def sign_in(
        self, request: Request, db: EntityStore, user_id: str, *, method: str, cookie: bool = False
    ) -> Response:
        """Starts a session and answers as POST /auth/login does; raises NotAuthenticated, EmailNotVerified."""
        row = await store.get_user_row(db, user_id)
        if row is None:
            raise NotAuthenticated
        signed_in = await start_session(
            db, self._issuer, row, request.headers.get("user-agent"), method=method, cookie=cookie
        )
        return sign_in_response(request.scope, self._issuer, signed_in)


def _account_of(row: dict[str, Any] | None) -> Account | None:
    return None if row is None else _account(row)


def _account(row: dict[str, Any]) -> Account:
    return Account(
        id=row["id"],
        email=row["email"],
        role=row["role"],
        is_active=bool(row["is_active"]),
        email_verified=row["email_verified_at"] is not None,
        has_password=row["password_hash"] is not None,
        name=row["name"],
    )
