"""The routes under /dev/mail. They show everybody's mails to everybody, so they exist with `debug` only."""

from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from app_kernel.core.current import current_kernel
from app_kernel.core.errors import PermissionDenied
from app_kernel.mail.development import development_mails, mail_of
from app_kernel.mail.pages import HEADERS, list_page, mail_page
from app_kernel.mail.store import get_mail


async def refuse_other_origins(request: Request) -> None:
    """Raises PermissionDenied for scripts of other pages: CORS may let any page read what this service answers."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise PermissionDenied("Only the service's own pages may read its mails.")


router = APIRouter(prefix="/dev", include_in_schema=False, dependencies=[Depends(refuse_other_origins)])


@router.get("/mail.json")
async def get_mails_as_json() -> JSONResponse:
    """The mails that were kept instead of sent, the newest first."""
    mails: list[dict[str, Any]] = [asdict(mail) for mail in await development_mails(current_kernel())]
    return JSONResponse({"mails": mails}, headers={"Cache-Control": "no-store"})


@router.get("/mail")
async def get_mails() -> HTMLResponse:
    """The same as a page."""
    return HTMLResponse(list_page(await development_mails(current_kernel())), headers=HEADERS)


@router.get("/mail/{id}")
async def get_one_mail(id: Annotated[str, Path(max_length=64)]) -> HTMLResponse:
    """One mail as a page."""
    row = await get_mail(current_kernel().db.connection(), id)
    if row is None:
        raise HTTPException(404, "There is no such mail, or no longer.")
    return HTMLResponse(mail_page(mail_of(row)), headers=HEADERS)
