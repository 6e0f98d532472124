"""Who may change whom: pure functions over roles.

Viewer, member, admin, owner: each may do what the ones before it may. Nobody grants a role above their own. Owners
change everybody, admins those below admin, and everybody may take a lesser role or leave.
"""

from app_kernel.core.errors import InvalidWorkspace, PermissionDenied
from app_kernel.core.workspaces import RANKS, ROLES

OWNER, ADMIN = "owner", "admin"
INVITED_AS = ("viewer", "member", "admin")
"""Roles that an invite can give. An owner is made of somebody who is a member already."""


def check_role(role: str, among: tuple[str, ...] = ROLES) -> str:
    """The role; raises InvalidWorkspace for text that is none of these."""
    if role not in among:
        raise InvalidWorkspace(f"A role here is one of {', '.join(among)}.")
    return role


def require_rank(actor: str, least: str) -> None:
    """Raises PermissionDenied for somebody whose role is less."""
    if RANKS[actor] < RANKS[least]:
        raise PermissionDenied(f"This needs the role {least} in the workspace.")


def require_grant(actor: str, role: str) -> None:
    """Raises PermissionDenied unless somebody with the role `actor` may give others this role."""
    require_rank(actor, ADMIN)
    if RANKS[role] > RANKS[actor]:
        raise PermissionDenied("Nobody can give a role above their own.")


def require_power(actor: str, target: str) -> None:
    """Raises PermissionDenied unless somebody with the role `actor` may change or remove another one's membership."""
    require_rank(actor, ADMIN)
    if actor != OWNER and RANKS[target] >= RANKS[actor]:
        raise PermissionDenied("Only owners can change owners and admins.")
