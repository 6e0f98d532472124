"""Making mails and enqueueing them: nothing here waits for a mail server."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from app_kernel.core import clock
from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import acting_as
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import MailNotConfigured, UndeliverableMail
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import JobQueue, Mailer
from app_kernel.encryption import KeyRing
from app_kernel.mail.message import Mail, checked_address, checked_bodies, checked_subject, public_values
from app_kernel.mail.settings import mail_domain
from app_kernel.mail.tasks import DELIVER, PURPOSE

if TYPE_CHECKING:
    from app_kernel.mail.templates import Templates

Way = Literal["smtp", "table"]
"""How a mail leaves. The job says so, because a worker without SMTP_URL must not keep what is to be sent."""


class KernelMailer:
    """The mailer of one service."""

    def __init__(self, kernel: Kernel, ring: KeyRing, way: Way | None) -> None:
        self._kernel = kernel
        self._ring = ring
        self._way = way
        self._domain = mail_domain(kernel.config)
        self._templates: Templates | None = None

    @property
    def can_send(self) -> bool:
        """Whether mails leave, or are kept where developers read them."""
        return self._way is not None

    async def send_template(
        self, to: str, template: str, values: Mapping[str, Any], *, expires_at: datetime | None = None
    ) -> None:
        """Renders a mail and enqueues it: see `Mailer`. `service` is the service's name unless the values have one."""
        self._check_configured()
        if self._templates is None:
            self._templates = templates_of(self._kernel.config)
        rendered = self._templates.render(template, {"service": self._kernel.name, **public_values(values)})
        await self._enqueue(to, rendered.subject, rendered.text, rendered.html, template, expires_at)

    async def send(
        self, to: str, *, subject: str, text: str, html: str | None = None, expires_at: datetime | None = None
    ) -> None:
        """Enqueues a mail that is written already; raises MailNotConfigured and UndeliverableMail."""
        self._check_configured()
        await self._enqueue(to, subject, text, html, None, expires_at)

    def _check_configured(self) -> None:
        if self._way is None:
            raise MailNotConfigured

    async def _enqueue(
        self,
        to: str,
        subject: str,
        text: str,
        html: str | None,
        template: str | None,
        expires_at: datetime | None,
    ) -> None:
        if expires_at is not None and expires_at.tzinfo is None:
            raise UndeliverableMail("expires_at is a datetime with a time zone.")
        text, html = checked_bodies(text, html)
        mail = Mail(
            id=clock.new_id(),
            domain=self._domain,
            to=checked_address(to),
            subject=checked_subject(subject),
            text=text,
            html=html,
            template=template,
            made_at=clock.epoch(),
            expires_at=None if expires_at is None else expires_at.timestamp(),
        )
        # Jobs can be read for days, and by more people than the mail is for.
        payload = {
            "by": self._way,
            "template": template,
            "recipient": self._ring.mac(PURPOSE, mail.to.lower().encode())[:16],
            "sealed": self._ring.seal(PURPOSE, mail.to_bytes()),
        }
        queue = self._kernel.port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        # Nobody's job: whoever asked for a mail to somebody else must not learn from it whether there is an account.
        with acting_as(None):
            await queue.enqueue(DELIVER, payload, job_id=mail.id)


def templates_of(config: ServiceConfig) -> "Templates":
    """The templates of a service; read anew when they change, with `debug`."""
    from app_kernel.mail.templates import Templates  # noqa: PLC0415 - 50 ms that a start need not pay

    return Templates(config.mail_templates, auto_reload=config.debug)


async def send_mail(to: str, *, subject: str, text: str, html: str | None = None) -> None:
    """Sends a mail by a background job: with the open transaction, or at once.

    `to` is one address. `html` is sent beside the text, as it is: escape what users wrote. Raises MailNotConfigured
    where mail is not set up, UndeliverableMail for an address or a subject that no mail can have (CR, LF, NUL), and
    NoRunningKernel outside of a service.
    """
    mailer = _mailer()
    if not isinstance(mailer, KernelMailer):
        raise TypeError("Another feature has taken the place of the mailer.")
    await mailer.send(to, subject=subject, text=text, html=html)


async def send_template(
    to: str, template: str, values: Mapping[str, Any] | None = None, *, expires_at: datetime | None = None
) -> None:
    """Renders a template, the application's own or one of the kernel's, and sends it by a background job.

    It leaves with the open transaction, or at once; after `expires_at` (aware) it is no longer tried. Values are
    escaped in HTML. Raises MailNotConfigured, UndeliverableMail (also for a missing template or value) and
    NoRunningKernel.
    """
    await _mailer().send_template(to, template, values or {}, expires_at=expires_at)


def _mailer() -> Mailer:
    mailer = current_kernel().find_port(Mailer)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if mailer is None:
        raise MailNotConfigured("This service cannot send mail: it has no key to seal mails with; set ENCRYPTION_KEY.")
    return mailer
