"""The routes under /dev/mail. They show everybody's mails to everybody, so they exist with `debug` only."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from app_kernel.core.current import current_kernel
from app_kernel.core.errors import PermissionDenied
from app_kernel.core.own_address import host_of, is_local_host, is_origin_of_host, origin_of
from app_kernel.core.policies import public
from app_kernel.mail.development import development_mails, mail_of
from app_kernel.mail.pages import HEADERS, list_page, mail_page
from app_kernel.mail.store import get_mail


async def refuse_strangers(request: Request) -> None:
    """Raises PermissionDenied for scripts of other pages: CORS may let any page read what this service answers.

    The Host counts too: another site's name may lead to this machine (DNS rebinding), and its page is of one origin
    with what it reads then.
    """
    config = current_kernel().config
    host, origin = host_of(request.scope), request.headers.get("origin")
    public = origin_of(config.public_url or "")
    is_known = is_local_host(host) or (public is not None and public.partition("://")[2] == host.lower())
    if not is_known or (origin is not None and not is_origin_of_host(origin, host, secure=False)):
        raise PermissionDenied("Mails are shown to the service's own pages: open this at localhost, or set PUBLIC_URL.")


router = APIRouter(prefix="/dev", include_in_schema=False, dependencies=[Depends(refuse_strangers)])


@router.get("/mail.json")
@public
async def get_mails_as_json() -> JSONResponse:
    """The mails that were kept instead of sent, the newest first."""
    mails: list[dict[str, Any]] = [asdict(mail) for mail in await development_mails(current_kernel())]
    return JSONResponse({"mails": mails}, headers={"Cache-Control": "no-store"})


@router.get("/mail")
@public
async def get_mails() -> HTMLResponse:
    """The same as a page."""
    return HTMLResponse(list_page(await development_mails(current_kernel())), headers=HEADERS)


@router.get("/mail/{id}")
@public
async def get_one_mail(id: Annotated[str, Path(max_length=64)]) -> HTMLResponse:
    """One mail as a page."""
    row = await get_mail(current_kernel().db.connection(), id)
    if row is None:
        raise HTTPException(404, "There is no such mail, or no longer.")
    return HTMLResponse(mail_page(mail_of(row)), headers=HEADERS)
