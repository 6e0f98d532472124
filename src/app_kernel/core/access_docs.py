"""What the OpenAPI document tells of a route because of who may call it: credentials, answers, the workspace."""

from collections.abc import Mapping
from dataclasses import dataclass, field

USER = "user"
"""The security scheme of the Authorize button, which signs in; BEARER is for a token that one has."""
BEARER = "bearer"
SESSION_COOKIE = "session_cookie"
REFRESH_COOKIE = "refresh_cookie"
CSRF_TOKEN = "csrf_token"  # noqa: S105 - a scheme's name, not a token
API_KEY = "api_key"
USER_OR_API_KEY = "user_or_api_key"

UNAUTHENTICATED = "No access token, or one that is invalid, expired or revoked."


@dataclass(frozen=True, slots=True)
class Access:
    """What a dependency that asks who calls means for the document; several routes share it, each says more if need be.

    FastAPI tells the document nothing of a dependency but the name of its security scheme. So each kind has a name of
    its own there, which the document then replaces by schemes that there are.
    """

    schemes: tuple[str, ...] = (USER, BEARER, SESSION_COOKIE)
    """Each of them is enough; one that the service does not have is left out."""
    optional: bool = False
    """Whether it lets callers in that nobody knows."""
    answers: Mapping[int, str] = field(default_factory=lambda: {401: UNAUTHENTICATED})
    """Error answers of every route that depends on it."""
    in_workspace: bool = False
    """Whether the request may name a workspace."""


_BY_KEY = (USER_OR_API_KEY, API_KEY, SESSION_COOKIE)
_KEY_ANSWERS = {
    401: "No access token and no API key, one that is not accepted, or two of them.",
    429: "Too many requests, or too many wrong keys from this address.",
}
_MEMBER = {
    401: UNAUTHENTICATED,
    400: "The request names no workspace and the caller has chosen none, or it names several.",
    404: "There is no such workspace, or the caller is not in it.",
}

ACCESS: dict[str, Access] = {
    USER: Access(),
    "user_if_any": Access(optional=True, answers={}),
    "user_with_role": Access(answers={401: UNAUTHENTICATED, 403: "The caller's role does not allow this."}),
    "user_of_session": Access(schemes=(USER, BEARER, SESSION_COOKIE, REFRESH_COOKIE)),
    "workspace_member": Access(in_workspace=True, answers=_MEMBER),
    "workspace_role": Access(
        in_workspace=True, answers={**_MEMBER, 403: "The caller's role in the workspace does not allow this."}
    ),
    USER_OR_API_KEY: Access(schemes=_BY_KEY, answers=_KEY_ANSWERS),
    "user_or_api_key_with_scope": Access(
        schemes=_BY_KEY, answers={**_KEY_ANSWERS, 403: "The caller does not have the scope that this needs."}
    ),
}
"""By the name that the dependency has as a security scheme."""
