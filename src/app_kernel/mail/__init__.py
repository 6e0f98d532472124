"""Mail to users: rendered from templates, sent by background jobs, and kept to be read while developing.

from app_kernel.mail import send_mail, send_template

async with db.transaction():
    await db.save_entity("orders", order)
    await send_template(user.email, "order_placed", {"number": order["number"]})  # leaves exactly if this commits
"""

from app_kernel.mail.development import DevelopmentMail, development_mails
from app_kernel.mail.feature import create_feature
from app_kernel.mail.mailer import send_mail, send_template

__all__ = ["DevelopmentMail", "create_feature", "development_mails", "send_mail", "send_template"]
