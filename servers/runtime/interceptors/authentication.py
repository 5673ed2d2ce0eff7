"""Third: who is calling. Behind this layer there is a principal, and every refusal about the caller is audited."""

from collections.abc import Mapping
from typing import Any, Final

from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.audit import RefusalAudit
from servers.runtime.auth import ROLE_OPERATOR, Principal, TokenVerifier, require_role, set_principal
from servers.runtime.context import Behaviour, Call, Method
from servers.runtime.errors import Refusal

OPEN_SERVICES: Final = frozenset({"grpc.health.v1.Health"})
"""Probes carry no token, and health tells no more than up or down."""

SERVICE_ROLES: Final[Mapping[str, str]] = {"grpc.channelz.v1.Channelz": ROLE_OPERATOR}
"""channelz shows every caller's address."""

_SCHEME = "bearer "


class AuthenticationLayer:
    """Verifies the bearer token and names the principal.

    ``anonymous`` is who calls without a token in the loopback development mode; None refuses such calls. A token that
    is sent is verified in either case.
    """

    def __init__(self, verifier: TokenVerifier, audit: RefusalAudit, anonymous: Principal | None) -> None:
        self._verifier = verifier
        self._audit = audit
        self._anonymous = anonymous

    def wrap(self, method: Method, handler: Any, proceed: Behaviour) -> Behaviour:
        if method.service in OPEN_SERVICES:
            return proceed
        role = SERVICE_ROLES.get(method.service)

        async def authenticate(call: Call) -> bytes | None:
            try:
                call.principal = self._principal(call)
                set_principal(call.principal)
                if role is not None:
                    require_role(role)
                return await proceed(call)
            except Refusal as refusal:
                await self._audit.refused(
                    refusal.reason,
                    method=method.path,
                    principal=call.principal,
                    correlation_id=call.correlation.correlation_id,
                    turn_id=call.correlation.turn_id,
                )
                raise

        return authenticate

    def _principal(self, call: Call) -> Principal:
        header = call.metadata.get("authorization")
        if header is None:
            if self._anonymous is None:
                raise Refusal(reasons.ERROR_REASON_TOKEN_MISSING, "send metadata `authorization: Bearer <token>`")
            return self._anonymous
        if not isinstance(header, str) or not header.lower().startswith(_SCHEME):
            raise Refusal(reasons.ERROR_REASON_TOKEN_INVALID, "the token is not accepted", cause="scheme")
        return self._verifier.verify(header[len(_SCHEME) :].strip())
