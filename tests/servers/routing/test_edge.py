"""Who may ask for whom, and whom a call that names nobody is for."""

from __future__ import annotations

from contextvars import copy_context

import pytest
from selene.routing.v1.route_pb2 import RouteScope

from servers.routing.edge import permitted, routed_call
from servers.routing.live_packs import NO_PACKS, ServedPacks
from servers.routing.pack_choice import Subject
from servers.routing.router import RoutedCall
from servers.runtime.auth import DEVELOPMENT_PRINCIPAL, Principal, set_principal
from servers.runtime.errors import Refusal
from tests.support.time import FakeClock


def caller(*roles: str, device: str = "") -> Principal:
    return Principal("t-1", "mira", device, frozenset(roles))


def scope(user_id: str = "", tenant_id: str = "t-1") -> RouteScope:
    return RouteScope(tenant_id=tenant_id, user_id=user_id)


def asked(principal: Principal, for_whom: RouteScope) -> str:
    """The reason that the call is refused with; empty if it is not."""

    def attempt() -> str:
        set_principal(principal)
        try:
            assert permitted(for_whom) == principal
        except Refusal as refusal:
            return refusal.reason_name
        return ""

    return copy_context().run(attempt)


def routed(principal: Principal, for_whom: RouteScope) -> tuple[RoutedCall, Subject]:
    """The call, and whom packs are chosen for."""
    subjects: list[Subject] = []

    def packs(subject: Subject) -> ServedPacks:
        subjects.append(subject)
        return NO_PACKS

    call = routed_call(
        for_whom,
        principal,
        FakeClock(),
        locale="en",
        request_id="r-1",
        idempotency_key="k-1",
        content=for_whom,
        units=1.0,
        packs=packs,
    )
    (subject,) = subjects
    return call, subject


@pytest.mark.parametrize(
    ("roles", "for_whom", "reason"),
    [
        (("user",), scope(), ""),
        (("user",), scope("mira"), ""),
        (("user",), scope("jonas"), "SUBJECT_MISMATCH"),
        (("user", "auditor"), scope("jonas"), "SUBJECT_MISMATCH"),
        (("user",), scope(tenant_id="t-2"), "TENANT_MISMATCH"),
        (("service",), scope(), ""),
        (("service",), scope("jonas"), ""),
        (("operator",), scope(), ""),
        (("operator",), scope("jonas"), ""),
        (("auditor",), scope(), "ROLE_REQUIRED"),
        (("auditor",), scope("mira"), "ROLE_REQUIRED"),
        (("deployment-operator",), scope(), "ROLE_REQUIRED"),
        ((), scope(), "ROLE_REQUIRED"),
    ],
)
def test_who_may_ask_for_whom(roles: tuple[str, ...], for_whom: RouteScope, reason: str) -> None:
    assert asked(caller(*roles), for_whom) == reason


@pytest.mark.parametrize(
    ("roles", "named", "meant"),
    [
        (("user",), "", "mira"),
        (("user",), "mira", "mira"),
        (("user", "auditor"), "", "mira"),
        (("service",), "", ""),
        (("service",), "jonas", "jonas"),
        (("user", "service"), "", ""),
        (("operator",), "", ""),
        (("user", "deployment-operator"), "", "mira"),
        (("user", "operator"), "", ""),
    ],
)
def test_whom_a_call_is_for(roles: tuple[str, ...], named: str, meant: str) -> None:
    call, subject = routed(caller(*roles), scope(named))
    assert (call.user_id, subject.user_id, call.subject) == (meant, meant, "mira")


def test_what_stays_the_same_from_call_to_call_is_the_same_whether_she_names_herself_or_not() -> None:
    for user in (caller("user"), caller("user", device="kitchen")):
        assert routed(user, scope())[1] == routed(user, scope("mira"))[1]
    assert routed(caller("service"), scope())[1].key == ""


def test_who_develops_may_ask_for_anybody_and_for_nobody() -> None:
    assert asked(DEVELOPMENT_PRINCIPAL, scope(tenant_id="dev")) == ""
    assert asked(DEVELOPMENT_PRINCIPAL, scope("mira", tenant_id="dev")) == ""
    assert routed(DEVELOPMENT_PRINCIPAL, scope(tenant_id="dev"))[0].user_id == ""
