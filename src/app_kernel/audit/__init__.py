"""The audit log: who changed what, when, from where and why, in the same commit as the change.

logs = await get_audit_logs(admin_db, app="my_app", entity="deployments", since="2025-01-01")
print(logs[0]["action"], logs[0]["changes"])  # update {"status": ["queued", "running"]}

async with db.transaction():
    await db.save_entity("invoices", {"id": "i1", "status": "void"})
    await record("invoice.voided", ("invoices", "i1"), {"amount": "12.50"}, reason="paid twice")
"""

from app_kernel.audit.business import record
from app_kernel.audit.feature import create_feature
from app_kernel.audit.reading import (
    AuditPage,
    Format,
    count_audit_logs,
    export_audit_logs,
    find_audit_logs,
    get_audit_logs,
    list_apps,
)
from app_kernel.audit.tables import TABLES
from app_kernel.audit.trail import enable_audit

__all__ = [
    "TABLES",
    "AuditPage",
    "Format",
    "count_audit_logs",
    "create_feature",
    "enable_audit",
    "export_audit_logs",
    "find_audit_logs",
    "get_audit_logs",
    "list_apps",
    "record",
]
