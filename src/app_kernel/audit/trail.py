"""Switching the audit log on, and which recorder tells of a database."""

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from app_kernel.audit.recorder import ChangeRecorder
from app_kernel.audit.values import Redaction, checked_names
from app_kernel.core.config import ServiceConfig
from app_kernel.core.current import running_kernels
from app_kernel.core.errors import AuditError, InvalidAuditEvent
from app_kernel.core.feature import left_out
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore

LONGEST_APP = 191

_switched_on: WeakKeyDictionary[object, ChangeRecorder] = WeakKeyDictionary()
"""By database: the recorders that `enable_audit` put there."""


class AuditTrail:
    """The audit log of a service: its recorder, and the name that its entries have."""

    def __init__(self, config: ServiceConfig) -> None:
        self.recorder = ChangeRecorder(config.name or "", Redaction(config.audit_redact), config.audit_exclude)

    @property
    def app(self) -> str:
        """The name of the service, or the one that `enable_audit` was given last."""
        return self.recorder.app


def enable_audit(
    db: EntityStore, redis_client: Any = None, *, app: str, redact: Iterable[str] = (), exclude: Iterable[str] = ()
) -> None:
    """Records every later change of this database, through whichever handle of this process, under the name `app`.

    A service does so by itself, under its own name. Called again, or there, it records nothing twice: the name given
    last counts, and `redact` and `exclude` (as `audit_redact` and `audit_exclude` of ServiceConfig) add to what is
    there. Each change leaves in its own commit, through the outbox, whether there is Redis or not; without a service
    it waits there until one that has this database carries it. Raises InvalidAuditEvent for names that are none, and
    AuditError in a service with `audit_enabled=False`.
    """
    check_app(app)
    hidden = checked_names("redact", redact)
    # With all it hides from the start: a save of another task may come at any time.
    made = ChangeRecorder(app, Redaction(hidden), checked_names("exclude", exclude))
    kernel = _kernel_of(db)
    if kernel is not None and kernel.find_port(AuditTrail) is None:
        raise AuditError(f"{left_out('audit')} Or it has audit_enabled=False.")
    recorder = db.add_recorder(made)
    if not isinstance(recorder, ChangeRecorder):
        raise AuditError("Another recorder of this database claims to be the one of the audit log.")
    recorder.app = app
    recorder.redaction.add(hidden)
    recorder.exclude |= made.exclude
    _switched_on[db.database] = recorder


def recorder_of(db: EntityStore) -> ChangeRecorder:
    """What tells the audit log of this database; raises AuditError where it is switched off."""
    kernel = _kernel_of(db)
    trail = None if kernel is None else kernel.find_port(AuditTrail)
    recorder = _switched_on.get(db.database) if trail is None else trail.recorder
    if recorder is None:
        raise AuditError("Nothing is audited here: call enable_audit(db, app=...), or set audit_enabled.")
    return recorder


def check_app(app: Any) -> str:
    """The name of an app; raises InvalidAuditEvent."""
    if not isinstance(app, str) or not 0 < len(app) <= LONGEST_APP or not app.isprintable():
        raise InvalidAuditEvent(f"app is the name of a service: a text of 1 to {LONGEST_APP} characters.")
    return app


def _kernel_of(db: EntityStore) -> Kernel | None:
    """The running service of this database."""
    served = (each for each in running_kernels() if each.running and each.db.connection().database is db.database)
    return next(served, None)
