"""Policy and privacy are what the server knows of where an artifact came from, and never the proposer's word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, SCOPE_TYPE_TENANT, SCOPE_TYPE_USER, Scope
from selene.gold.v1 import gold_pb2 as gold
from selene.gold.v1.evidence_pb2 import (
    GoldCandidate,
    GoldItem,
    LabelledTurn,
    ModelOutput,
    RankedContext,
    Ranking,
    RecognisedUtterance,
)
from selene.governance.v1.decision_pb2 import APPROVAL_KIND_CODE, APPROVAL_KIND_POLICY, APPROVAL_KIND_PRIVACY
from selene.learning.v1 import signal_pb2 as signals
from selene.provider.v1.provider_pb2 import CAPABILITY_STT
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT
from selene.routing.v1.service_pb2 import POLICY_EFFECT_ALLOW, POLICY_EFFECT_DENY

from servers.governance.approvals import stated
from servers.governance.origin import Origin, policy_holds, privacy_holds
from store.routing import Rule
from tests.support.signals import signal

TENANT = "t1"
ROW = ArtifactRow(
    artifact_id="a1",
    artifact_type="STT_VOCAB_PACK",
    tenant_id=TENANT,
    scope=Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT),
)
GOLD = GoldCandidate(
    gold_set_id="g1",
    tenant_id=TENANT,
    domain=gold.GOLD_DOMAIN_STT_TRANSCRIPT,
    tier=gold.GOLD_TIER_2_HUMAN_VERIFIED,
    policy_version="1",
)


def captured(erased: bool = False, **fields: Any) -> signals.CapturedSignal:
    return signals.CapturedSignal(signal=signal("1", TENANT, signal_id="s1", **fields), erased=erased)


def known(row: ArtifactRow = ROW, **fields: Any) -> Origin:
    usual = {
        "signal_ids": frozenset({"s1"}),
        "signals": {"s1": captured()},
        "gold_set_ids": frozenset({"g1"}),
        "gold": (GOLD,),
    }
    return Origin(row=row, **{**usual, **fields})


def scoped(scope_type: int, scope_id: str) -> ArtifactRow:
    row = ArtifactRow()
    row.CopyFrom(ROW)
    row.scope.scope_type, row.scope.scope_id = scope_type, scope_id  # type: ignore[assignment]  # any number
    return row


def candidate(**fields: Any) -> GoldCandidate:
    made = GoldCandidate()
    made.CopyFrom(GOLD)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_what_is_known_and_sound_passes() -> None:
    assert privacy_holds(known())
    assert policy_holds(known())


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"s1": captured(erased=True)},
        {"s1": captured(consent_asserted=False)},
        {"s1": captured(privacy_scope=signals.PRIVACY_SCOPE_USER)},
        {"s1": signals.CapturedSignal(signal=signal("1", "t2", signal_id="s1"))},
    ],
)
def test_a_signal_that_may_not_teach_so_far_breaks_privacy(found: dict[str, signals.CapturedSignal]) -> None:
    assert not privacy_holds(known(signals=found))


@pytest.mark.parametrize(
    ("privacy", "row", "holds"),
    [
        (signals.PRIVACY_SCOPE_USER, scoped(SCOPE_TYPE_USER, "mira"), True),
        (signals.PRIVACY_SCOPE_USER, scoped(SCOPE_TYPE_USER, "noor"), False),
        (signals.PRIVACY_SCOPE_TENANT, scoped(SCOPE_TYPE_GLOBAL, ""), False),
        (signals.PRIVACY_SCOPE_DEPLOYMENT, scoped(SCOPE_TYPE_GLOBAL, ""), True),
    ],
)
def test_nothing_applies_further_than_its_signals_may_teach(privacy: int, row: ArtifactRow, holds: bool) -> None:
    assert privacy_holds(known(row, signals={"s1": captured(privacy_scope=privacy)})) is holds


@pytest.mark.parametrize(
    "content",
    [
        {"ranking": Ranking(query_ref="q", contexts=[RankedContext(ref="c", tenant_id="t2")])},
        {"utterance": RecognisedUtterance(tokens=["say", "Bearer", "abc.def"])},
        {"turn": LabelledTurn(text="it is at https://mira:hunter2@example.com")},
        {"output": ModelOutput(packet=b'{"reply": "Bearer abcdef"}')},
    ],
)
def test_an_item_that_tells_what_is_not_its_to_tell_breaks_privacy(content: dict[str, Any]) -> None:
    item = GoldItem(item_id="i1", signal_id="s1", **content)
    assert not privacy_holds(known(items=(item,)))


def test_an_item_with_nothing_to_redact_does_not() -> None:
    item = GoldItem(item_id="i1", signal_id="s1", utterance=RecognisedUtterance(tokens=["wake", "me"]))
    assert privacy_holds(known(items=(item,)))


@pytest.mark.parametrize(
    "found",
    [
        (),
        (candidate(frozen=True),),
        (candidate(tenant_id="t2"),),
        (candidate(policy_version=""),),
        (candidate(tier=gold.GOLD_TIER_NON_GOLD_PROXY),),
        (candidate(tier=gold.GOLD_TIER_3_CONSENSUS),),
    ],
)
def test_gold_that_does_not_promote_breaks_policy(found: tuple[GoldCandidate, ...]) -> None:
    assert not policy_holds(known(gold=found))


def test_consensus_promotes_where_nothing_critical_rests_on_it() -> None:
    ranking = candidate(tier=gold.GOLD_TIER_3_CONSENSUS, domain=gold.GOLD_DOMAIN_CONTEXT_RANK)
    assert policy_holds(known(gold=(ranking,)))


DENY = Rule(tenant_id=TENANT, rule_id="r1", effect=POLICY_EFFECT_DENY, reason="SUSPENDED")


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (DENY, False),
        (replace(DENY, domains=frozenset({DOMAIN_STT})), False),
        (replace(DENY, domains=frozenset({DOMAIN_LLM})), True),
        (replace(DENY, users=frozenset({"mira"})), True),
        (replace(DENY, channels=frozenset({"sms"})), True),
        (replace(DENY, capabilities=frozenset({CAPABILITY_STT})), True),
        (replace(DENY, effect=POLICY_EFFECT_ALLOW), True),
    ],
)
def test_a_rule_that_denies_all_that_it_is_for_breaks_policy(rule: Rule, holds: bool) -> None:
    assert policy_holds(known(rules=(rule,))) is holds


def test_of_what_came_from_nothing_known_somebody_else_than_the_proposer_has_to_state_it() -> None:
    unknown = Origin(row=ROW)
    assert not privacy_holds(unknown) and not policy_holds(unknown)
    given = [(APPROVAL_KIND_POLICY, "bob"), (APPROVAL_KIND_PRIVACY, "bob"), (APPROVAL_KIND_CODE, "bob")]
    by_bob = replace(unknown, stated=stated(given, {"ann"}))
    assert privacy_holds(by_bob) and policy_holds(by_bob)
    by_the_proposer = replace(unknown, stated=stated(given, {"ann", "bob"}))
    assert not privacy_holds(by_the_proposer) and not policy_holds(by_the_proposer)


def test_a_statement_does_not_replace_what_is_known() -> None:
    given = frozenset({APPROVAL_KIND_POLICY, APPROVAL_KIND_PRIVACY})
    assert not privacy_holds(known(signals={}, stated=given))
    assert not policy_holds(known(gold=(), stated=given))
