"""What mail contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.feature import Feature
from app_kernel.core.ports import Mailer
from app_kernel.encryption import key_ring
from app_kernel.mail.mailer import KernelMailer, Way, templates_of
from app_kernel.mail.routes import router
from app_kernel.mail.settings import find_problems, read_sender, read_smtp_url
from app_kernel.mail.tables import TABLES
from app_kernel.mail.tasks import DELIVER, Courier


def create_feature(config: ServiceConfig) -> Feature | None:
    """The mailer, the job that delivers and, outside production without `smtp_url`, a table that mails are kept in.

    None when there is no secret to seal mails with. Raises ConfigurationError for settings that cannot be.
    """
    problems = find_problems(config)
    if config.mail_templates is not None:
        problems += [f"mail_templates (MAIL_TEMPLATES): {each}" for each in templates_of(config).find_problems()]
    if problems:
        raise ConfigurationError(problems)
    ring = key_ring(config)
    if not ring:
        return None
    server = read_smtp_url(config.smtp_url)[0] if config.smtp_url is not None else None
    sender = read_sender(config.mail_from) if config.mail_from is not None else None
    way: Way | None = "smtp" if server is not None else None if config.production else "table"
    return Feature(
        name="mail",
        tables=TABLES if way == "table" else (),
        router=router if way == "table" and config.debug else None,
        provides={Mailer: lambda kernel: KernelMailer(kernel, ring, way)},
        tasks={DELIVER: Courier(config, ring, server, sender).task} if way is not None else {},
    )
