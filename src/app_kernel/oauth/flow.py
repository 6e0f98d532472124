"""A sign-in from its start to its end: to the provider, back with the browser's own cookie, and to a session."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi.responses import JSONResponse, RedirectResponse
from starlette.requests import Request
from starlette.responses import Response

from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.core.errors import (
    AccountError,
    AlreadyLinked,
    KernelError,
    LinkRequired,
    NotAuthenticated,
    OAuthError,
    ProviderUnavailable,
    SignInRefused,
    SignupDisabled,
    UnknownProvider,
)
from app_kernel.core.exchange import exchange_of
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.encryption import key_ring
from app_kernel.oauth import store
from app_kernel.oauth.addresses import Targets, callback_base, with_parameter
from app_kernel.oauth.github import GitHubProvider
from app_kernel.oauth.grant import s256
from app_kernel.oauth.linking import Linking
from app_kernel.oauth.oidc import OpenIdProvider
from app_kernel.oauth.providers import Provider, ProviderIdentity, SignInDenied
from app_kernel.oauth.schemas import ExchangeRequest, LinkRequest
from app_kernel.oauth.settings import ProviderSettings, read_providers
from app_kernel.oauth.ticket import (
    CODE_SECONDS,
    TICKET_SECONDS,
    BrowserCookies,
    Ticket,
    add_cookies,
    hash_of,
    is_challenge,
    is_hash_of,
    new_secret,
    new_ticket,
)
from app_kernel.oauth.wire import Wire, asking

ERROR_WORDS: Mapping[type[KernelError], str] = {
    AlreadyLinked: "already_linked",
    LinkRequired: "link_required",
    ProviderUnavailable: "provider_unavailable",
    SignupDisabled: "signup_disabled",
}
OTHER_ERROR = "sign_in_refused"
"""What a target is told of everything else."""
CLOCKS_APART = 300
"""Seconds by which processes may differ in the age of a ticket, during which its state stays used."""


class OAuth:
    """Signing in elsewhere, of one service."""

    def __init__(self, config: ServiceConfig, kernel: Kernel) -> None:
        self._config = config
        self._kernel = kernel
        self._settings = read_providers(config)
        self._targets = Targets(config.oauth_redirect_urls)
        self._cookies = BrowserCookies(config, key_ring(config))
        self._providers: dict[str, Provider] = {}
        self.linking = Linking(kernel)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the service runs; nobody is asked anything before a sign-in needs it."""
        wire = Wire()
        self._providers = {name: self._make(settings, wire) for name, settings in self._settings.items()}
        try:
            yield
        finally:
            await wire.close()

    @property
    def names(self) -> frozenset[str]:
        """The providers that are configured."""
        return frozenset(self._settings)

    async def start(self, request: Request, name: str, redirect_to: str | None, challenge: str | None) -> Response:
        """Sends the browser to the provider, with a ticket; raises UnknownProvider, SignInRefused."""
        if challenge is not None and not is_challenge(challenge):
            raise SignInRefused("A code_challenge is 43 characters of base64url, made with S256 (RFC 7636).")
        ticket = new_ticket(
            name, self._callback(request, name), target=self._targets.choose(redirect_to), challenge=challenge
        )
        response = RedirectResponse(await self._authorization_url(ticket), 303)
        self._cookies.keep(request, response, ticket)
        return response

    async def start_link(
        self, request: Request, db: EntityStore, name: str, user_id: str, given: LinkRequest
    ) -> Response:
        """Answers where to send the browser of a signed-in user, and gives it a ticket that links.

        Raises PermissionDenied when the account's password is missing or wrong.
        """
        self._require(name)
        target = self._targets.choose(given.redirect_to)
        await self.linking.accounts.prove_owner(request, db, user_id, given.password)
        account = await self.linking.accounts.get_account(db, user_id)
        ticket = new_ticket(
            name,
            self._callback(request, name),
            target=target,
            link_user_id=user_id,
            link_token=_bearer_of(request),
            link_verified=account is not None and account.email_verified,
        )
        response = JSONResponse({"authorization_url": await self._authorization_url(ticket)})
        self._cookies.keep(request, response, ticket)
        return response

    async def finish(self, request: Request, db: EntityStore, name: str, given: Mapping[str, str | None]) -> Response:
        """Takes the browser back from the provider, with what came in the callback's query.

        Where a target is set it is sent there, with a one-time code or with the word of an error; else it gets the
        answer itself. Raises UnknownProvider, SignInRefused, ProviderUnavailable, LinkRequired, AlreadyLinked,
        SignupDisabled and what the accounts refuse.
        """
        ticket = await self._take_ticket(request, db, name, given.get("state") or "")
        target = self._targets.choose(ticket.target) if ticket.target is not None else None
        try:
            identity = await self._identify(ticket, given)
            response = await self._settle(request, db, ticket, target, identity)
        except (OAuthError, AccountError, NotAuthenticated) as exc:
            word = ERROR_WORDS.get(type(exc), OTHER_ERROR)
            reason = str(exc.__cause__) if isinstance(exc.__cause__, SignInDenied) else word
            await self.linking.report("oauth.refused", ticket.link_user_id, provider=name, reason=reason)
            if target is None:
                raise
            response = RedirectResponse(with_parameter(target, "error", word), 303)
        add_cookies(response, [self._cookies.forget_state(ticket.state)])
        return response

    async def exchange(self, request: Request, db: EntityStore, data: ExchangeRequest) -> Response:
        """A session for a one-time code, which is used up whatever comes of it; raises SignInRefused."""
        row = await store.take_code(db, hash_of(data.code))
        forgotten = self._cookies.forget_code(data.code)
        exchange_of(request.scope).extra_headers.append(forgotten)
        if row is None or not self._may_exchange(request, row["challenge"], row["browser"], data):
            await self.linking.report("oauth.refused", row["user_id"] if row else None, reason="code")
            raise SignInRefused
        response = await self.linking.accounts.sign_in(
            request, db, row["user_id"], method=f"oauth:{row['provider']}", cookie=data.cookie
        )
        add_cookies(response, [forgotten])
        return response

    def _may_exchange(self, request: Request, challenge: str | None, browser: str, data: ExchangeRequest) -> bool:
        """Whether the sign-in was begun by who has the code now, so that nobody is signed in as somebody else.

        A page's own verifier shows it. Without one, and for cookies, which a foreign page could have set with a
        verifier of its own making, the browser's cookie does.
        """
        if challenge is not None and (data.code_verifier is None or s256(data.code_verifier) != challenge):
            return False
        half = self._cookies.for_exchange(request, data.code)
        return (challenge is not None and not data.cookie) or (half is not None and is_hash_of(browser, half))

    async def _take_ticket(self, request: Request, db: EntityStore, name: str, state: str) -> Ticket:
        """The ticket of this browser, used up whatever comes of it."""
        self._require(name)
        try:
            ticket = self._cookies.open(request, name, state)
            exchange_of(request.scope).extra_headers.append(self._cookies.forget_state(state))
            if not await store.claim_once(db, hash_of(state), TICKET_SECONDS + CLOCKS_APART):
                raise SignInRefused
        except SignInRefused:
            await self.linking.report("oauth.refused", None, provider=name, reason="state")
            raise
        return ticket

    async def _identify(self, ticket: Ticket, given: Mapping[str, str | None]) -> ProviderIdentity:
        """Who came back; why not, if not, is told to the security log alone."""
        try:
            if not given.get("code") or given.get("error"):
                raise SignInDenied("provider")
            async with asking(ticket.provider):
                return await self._require(ticket.provider).identify(ticket, given["code"] or "", given.get("iss"))
        except SignInDenied as exc:
            raise SignInRefused from exc

    async def _settle(
        self, request: Request, db: EntityStore, ticket: Ticket, target: str | None, identity: ProviderIdentity
    ) -> Response:
        if ticket.link_user_id is not None:
            await self._link(request, db, ticket, ticket.link_user_id, identity)
            if target is None:
                return JSONResponse({"linked": identity.provider})
            return RedirectResponse(with_parameter(target, "linked", identity.provider), 303)
        user_id = await self.linking.account_for(db, identity)
        if target is None:
            return await self.linking.accounts.sign_in(request, db, user_id, method=f"oauth:{identity.provider}")
        code, half = new_secret(), new_secret()
        values = {"user_id": user_id, "provider": identity.provider, "challenge": ticket.challenge}
        await store.insert_code(db, {**values, "hash": hash_of(code), "browser": hash_of(half)}, CODE_SECONDS)
        response = RedirectResponse(with_parameter(target, "code", code), 303)
        self._cookies.keep_for_exchange(response, code, half)
        return response

    async def _link(
        self, request: Request, db: EntityStore, ticket: Ticket, user_id: str, identity: ProviderIdentity
    ) -> None:
        """Links, if the session that asked for it is still there: who was signed out meanwhile links nothing.

        It is read anew in the transaction that links, because a link stays when the session is over.
        """
        user, token = current_context().user, ticket.link_token
        if token is not None and (user is None or user.id != user_id):
            headers = [(b"authorization", f"Bearer {token}".encode("latin-1"))]
            request = Request({**request.scope, "headers": headers})
        async with db.transaction():
            try:
                await self.linking.accounts.require_session(request, db, user_id)
            except NotAuthenticated:
                raise SignInRefused from None
            await self.linking.link(db, user_id, identity, verified=ticket.link_verified)

    async def _authorization_url(self, ticket: Ticket) -> str:
        async with asking(ticket.provider):
            return await self._require(ticket.provider).authorization_url(ticket)

    def _callback(self, request: Request, name: str) -> str:
        """Where the provider sends browsers back to."""
        self._require(name)
        prefix = getattr(request.app.state, "api_prefix", "")
        return f"{callback_base(self._config, request)}{prefix}/auth/oauth/{name}/callback"

    def _require(self, name: str) -> Provider:
        provider = self._providers.get(name)
        if provider is None:
            raise UnknownProvider
        return provider

    def _make(self, settings: ProviderSettings, wire: Wire) -> Provider:
        if settings.addresses:
            return GitHubProvider(settings, wire)
        return OpenIdProvider(settings, wire, loopback_http=not self._config.production)


def _bearer_of(request: Request) -> str | None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None
