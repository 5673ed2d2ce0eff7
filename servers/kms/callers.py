"""Who may ask about secrets: the deployment's operators, and the deployment's own services, each for itself."""

from __future__ import annotations

from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE, Principal, require_role, require_tenant
from servers.runtime.errors import Refusal
from servers.runtime.storage import SYSTEM_TENANT


def require_deployment() -> Principal:
    """The caller, if it is an operator of the deployment, or a service of the deployment's own tenant."""
    caller = require_role(ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE)
    return caller if _operates(caller) else require_tenant(SYSTEM_TENANT)


def require_owner(owner: str) -> Principal:
    """The caller, if it is an operator of the deployment, or the service that is this owner: its subject, `PH1.C`."""
    caller = require_deployment()
    if not _operates(caller) and caller.subject != owner:
        raise Refusal(reasons.ERROR_REASON_SUBJECT_MISMATCH, "the token does not speak for this owner")
    return caller


def _operates(caller: Principal) -> bool:
    return ROLE_DEPLOYMENT_OPERATOR in caller.roles
