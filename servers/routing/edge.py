"""What the gRPC edges of the routing owners share: who may ask for whom, and how a call becomes a routed one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from selene.common.v1 import error_reason_pb2 as reasons
from selene.routing.v1.route_pb2 import ProviderSwitched, RouteScope

from servers.routing.live_packs import NO_PACKS, ServedPacks
from servers.routing.pack_choice import Subject, sticky_key
from servers.routing.router import Finished, RoutedCall, Switched
from servers.runtime.auth import (
    ROLE_OPERATOR,
    ROLE_SERVICE,
    ROLE_USER,
    Principal,
    require_role,
    require_subject,
    require_tenant,
)
from servers.runtime.clock import Clock
from servers.runtime.context import remaining
from servers.runtime.errors import Refusal
from servers.runtime.storage import turn
from store import request_hash

LONGEST_S: Final = 600.0


def permitted(scope: RouteScope) -> Principal:
    """The caller, if it may ask at all, and for this tenant and this user (ALL-3). Refusal."""
    require_role(ROLE_USER, ROLE_SERVICE, ROLE_OPERATOR)
    caller = require_tenant(scope.tenant_id)
    if scope.user_id:
        require_subject(scope.user_id, or_roles=(ROLE_SERVICE, ROLE_OPERATOR))
    return caller


def user_of(scope: RouteScope, caller: Principal) -> str:
    """Whom a permitted call is for: a user who names nobody is meant herself; only who may ask for anybody may mean
    nobody.
    """
    may_mean_nobody = not caller.roles.isdisjoint((ROLE_SERVICE, ROLE_OPERATOR))
    return scope.user_id or ("" if may_mean_nobody else caller.subject)


def routed_call(
    scope: RouteScope,
    caller: Principal,
    clock: Clock,
    *,
    locale: str,
    request_id: str,
    idempotency_key: str,
    content: Message,
    units: float,
    packs: Callable[[Subject], ServedPacks] = lambda _: NO_PACKS,
) -> RoutedCall:
    """The call of the RPC that is being served: `content` is what its idempotency key stands for, `packs` gives what it
    goes by from now to its end.
    """
    user_id = user_of(scope, caller)
    is_service = ROLE_SERVICE in caller.roles
    key = sticky_key(device_id=caller.device_id, user_id=user_id, caller=caller.subject, is_service=is_service)
    return RoutedCall(
        tenant_id=scope.tenant_id,
        subject=caller.subject,
        user_id=user_id,
        channel=scope.channel,
        region=scope.region,
        locale=locale,
        request_id=request_id,
        idempotency_key=idempotency_key,
        units=units,
        ends_at=clock.monotonic() + min(remaining(), LONGEST_S),
        turn=turn(),
        content=request_hash(content.SerializeToString(deterministic=True)),
        packs=packs(Subject(scope.tenant_id, locale, scope.channel, user_id, key)),
    )


def switched(event: Switched) -> ProviderSwitched:
    """As the contracts show it."""
    return ProviderSwitched(
        from_provider_ref=event.from_provider_ref,
        to_provider_ref=event.to_provider_ref,
        reason_code=event.reason_code,
    )


def unservable(finished: Finished) -> Refusal:
    """INPUT_UNSERVABLE, for a call that a provider found at fault."""
    return Refusal(
        reasons.ERROR_REASON_INPUT_UNSERVABLE,
        "no provider can do what is asked",
        cause=finished.result.reason_code,
        provider=finished.result.provider_ref,
    )


def duration(seconds: float) -> Duration:
    """To the nanosecond; less than none is none."""
    made = Duration()
    made.FromNanoseconds(max(0, round(seconds * 1e9)))
    return made
