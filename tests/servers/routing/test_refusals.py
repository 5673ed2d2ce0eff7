"""How a call is refused before any provider is asked, as its owner tells the caller: each reason of the contract."""

from __future__ import annotations

from typing import Any

import pytest
from selene.common.v1 import error_reason_pb2 as reasons
from selene.routing.v1.routing_pb2 import RoutingSubject, TenantOverride

from servers.routing.gates import Gate, Reason, Verdict
from servers.routing.profile import ProfileProblem
from servers.routing.profile import compile as resolve
from servers.routing.router import gate_refusal
from servers.runtime.errors import Refusal
from store import Store, StoreUnavailable, Unavailability
from tests.support.routed import bench, llm_profile
from tests.support.time import FakeClock


class Down:
    """A store that answers nobody."""

    async def together(self, _: Any) -> Any:
        raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut")

    perform = together


async def test_a_gate_that_cannot_be_read_refuses_and_says_which(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    made.accounts._store = Down()  # type: ignore[assignment]  # the same calls
    with pytest.raises(Refusal) as refused:
        await made.run(made.call(tenant="t2"))
    assert refused.value.reason == reasons.ERROR_REASON_GATE_UNAVAILABLE
    assert refused.value.metadata == {"gate": "POLICY", "cause": "POLICY_UNKNOWN"}


async def test_where_two_rows_of_a_profile_apply_nobody_is_asked(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile with such rows is never put in force; one that a later version allows would be met like this."""
    profile = llm_profile()
    profile.tenant_overrides.extend([TenantOverride(tenant_id="t1"), TenantOverride(tenant_id="t1")])
    found = resolve(profile, RoutingSubject(tenant_id="t1"))
    assert isinstance(found, ProfileProblem)
    made = await bench(sqlite_store, clock)
    monkeypatch.setattr(made.directory, "resolve", lambda *_: found)
    with pytest.raises(Refusal) as refused:
        await made.run()
    assert refused.value.reason == reasons.ERROR_REASON_SETTING_AMBIGUOUS
    assert refused.value.metadata == {"key": "tenant_overrides DUPLICATE_OVERRIDE"}


@pytest.mark.parametrize(
    ("gate", "cause", "reason"),
    [
        (Gate.POLICY, Reason.POLICY_UNKNOWN, reasons.ERROR_REASON_GATE_UNAVAILABLE),
        (Gate.COST, Reason.COST_UNKNOWN, reasons.ERROR_REASON_GATE_UNAVAILABLE),
        (Gate.QUOTA, Reason.QUOTA_UNKNOWN, reasons.ERROR_REASON_GATE_UNAVAILABLE),
        (Gate.POLICY, Reason.POLICY_NO_RULE, reasons.ERROR_REASON_POLICY_REFUSED),
        (Gate.POLICY, "SUSPENDED", reasons.ERROR_REASON_POLICY_REFUSED),
        (Gate.COST, Reason.COST_BUDGET_EXCEEDED, reasons.ERROR_REASON_BUDGET_EXCEEDED),
        (Gate.COST, Reason.COST_ESTIMATE_INVALID, reasons.ERROR_REASON_BUDGET_EXCEEDED),
        (Gate.QUOTA, Reason.QUOTA_EXHAUSTED, reasons.ERROR_REASON_QUOTA_EXHAUSTED),
        (Gate.QUOTA, Reason.QUOTA_NEVER, reasons.ERROR_REASON_QUOTA_EXHAUSTED),
    ],
)
def test_what_a_gate_says_is_refused_by_the_reason_of_the_contract(
    gate: Gate, cause: str, reason: reasons.ErrorReason
) -> None:
    refusal = gate_refusal(Verdict(gate, cause, allowed=False, rule_id="r-7"))
    assert (refusal.reason, refusal.metadata["cause"]) == (reason, cause)
    assert refusal.metadata.get("rule_id") == ("r-7" if reason == reasons.ERROR_REASON_POLICY_REFUSED else None)


def test_when_the_quota_will_suffice_is_told_in_whole_milliseconds() -> None:
    waits = gate_refusal(Verdict(Gate.QUOTA, Reason.QUOTA_EXHAUSTED, allowed=False, retry_after_s=1.2345))
    assert waits.metadata["retry_after_ms"] == "1234"
    never = gate_refusal(Verdict(Gate.QUOTA, Reason.QUOTA_NEVER, allowed=False))
    assert "retry_after_ms" not in never.metadata
