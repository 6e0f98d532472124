"""The service's own pages for mailed links, for applications that have none: the token stays in the fragment.

A link is opened by mail scanners too, so opening it does nothing; the page acts when its button is pressed.
"""

import hashlib
import html
import re
from base64 import b64encode
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from app_kernel.core.policies import public

router = APIRouter(prefix="/auth", tags=["auth"], default_response_class=HTMLResponse)

_VERIFY = {
    "PAGE": "verify-email",
    "TITLE": "Confirm your address",
    "HINT": "Enter the password of your account to confirm that this address is yours.",
    "LABEL": "Password",
    "AUTOCOMPLETE": "current-password",
    "BUTTON": "Confirm",
}
_RESET = {
    "PAGE": "reset-password",
    "TITLE": "Choose a new password",
    "HINT": "It takes the place of the old one, and every device is signed out.",
    "LABEL": "New password",
    "AUTOCOMPLETE": "new-password",
    "BUTTON": "Set password",
}


@router.head("/verify-email", include_in_schema=False)
@router.get("/verify-email", summary="The page that confirms an address")
@public
async def get_verify_page() -> Response:
    """Where a mailed link leads to, unless `verify_email_url` is set: its script calls the route of the same path."""
    return _page("verify")


@router.head("/reset-password", include_in_schema=False)
@router.get("/reset-password", summary="The page that sets a new password")
@public
async def get_reset_page() -> Response:
    """Where a mailed link leads to, unless `reset_password_url` is set: its script calls the route of the same path."""
    return _page("reset")


def _page(name: str) -> Response:
    body, policy = _rendered(name)
    return Response(
        body, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"}, media_type="text/html"
    )


@cache
def _rendered(name: str) -> tuple[str, str]:
    """The page, and a policy that lets nothing run in it but its own script and style (CSP 3)."""
    text = (files("app_kernel.auth") / "page.html").read_text(encoding="utf-8")
    for mark, value in (_VERIFY if name == "verify" else _RESET).items():
        text = text.replace(f"%{mark}%", html.escape(value))
    script, style = (_source_hash(text, element) for element in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    return text, policy


def _source_hash(text: str, element: str) -> str:
    found = re.search(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    content = found[1] if found else ""
    return f"sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
