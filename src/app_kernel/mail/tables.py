"""The table of mail: what was not sent while developing. A service that sends mail does not have it."""

from app_kernel.core.tables import Table

DEVELOPMENT_MAILS = "kernel_development_mails"

TABLES = (Table(DEVELOPMENT_MAILS, {"recipient": str, "subject": str, "text": str, "html": str, "template": str}),)
