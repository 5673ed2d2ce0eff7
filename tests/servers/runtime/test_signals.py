"""What engines leave for learning: within their own transaction, for tenants that consent, sound by the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from selene.common.v1.scope_pb2 import TurnRef
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_PAE_ROUTE
from selene.learning.v1 import signal_pb2 as nouns

from servers.learning.capturing import Rules, nanoseconds
from servers.learning.intake import TimeLimits
from servers.runtime.config import ConfigError, load_settings
from servers.runtime.signals import ANONYMOUS, EVERY_TENANT, Producer, Seen, producer
from store import Store
from tests.support.stores import audit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = Rules(TimeLimits(skew_s=60, oldest_s=1000, intake_s=100))


def seen(**fields: Any) -> Seen:
    usual: dict[str, Any] = {
        "tenant_id": "t1",
        "event": "call-1",
        "signal_class": nouns.SIGNAL_CLASS_FAILOVER,
        "domain": GOLD_DOMAIN_PAE_ROUTE,
        "capability": "route",
        "reason_code": "DEADLINE_EXCEEDED",
        "outcome": "SERVED_BY_ANOTHER",
        "input_ref": "call:1",
        "output_ref": "provider:b/llm",
        "severity": nouns.SEVERITY_MEDIUM,
        "confidence_bp": 10_000,
        "impact_bp": 3_000,
        "at": NOW,
        "turn": TurnRef(),
    }
    return Seen(**{**usual, **fields})


def made(*tenants: str) -> Producer:
    return Producer("PH1.D", frozenset(tenants))


@pytest.mark.parametrize(("user", "named"), [("", ANONYMOUS), ("mira", "mira")])
def test_a_signal_keeps_every_rule_of_intake(user: str, named: str) -> None:
    one = made().signal(seen(user_id=user))
    assert RULES.broken(one) is None
    assert RULES.sound(one, nanoseconds(NOW)).late is None
    assert (one.user_id, one.consent_asserted) == (named, True)
    assert (one.privacy_scope == nouns.PRIVACY_SCOPE_USER) is bool(user)


def test_an_event_is_one_signal_a_class_and_engine() -> None:
    key = made().signal(seen()).idempotency_key
    assert made().signal(seen(reason_code="OTHER", impact_bp=1)).idempotency_key == key
    others = [
        made().signal(seen(event="call-2")),
        made().signal(seen(signal_class=nouns.SIGNAL_CLASS_FALLBACK)),
        Producer("PH1.C", frozenset()).signal(seen()),
    ]
    assert len({key, *(one.idempotency_key for one in others)}) == 4


def test_an_event_of_any_name_makes_an_id_that_the_contract_allows() -> None:
    one = made().signal(seen(event="läuft/{}" + "x" * 200, turn=TurnRef(correlation_id="c", turn_id="t")))
    assert RULES.broken(one) is None
    assert (one.correlation_id, one.turn_id) == ("c", "t")


@pytest.mark.parametrize(
    ("tenants", "wanted"), [((), False), (("t2",), False), (("t1", "t2"), True), ((EVERY_TENANT,), True)]
)
async def test_only_what_tenants_consent_to_is_left(
    sqlite_store: Store, tenants: tuple[str, ...], wanted: bool
) -> None:
    leaving = made(*tenants)
    assert leaving.wants("t1") is wanted
    async with sqlite_store.transaction() as tx:
        await leaving.leave(tx, [seen(), seen()])
        audit(tx)
    assert await sqlite_store.learning.outbox.waiting() == int(wanted)


async def test_what_was_undone_left_no_signal(sqlite_store: Store) -> None:
    with pytest.raises(RuntimeError):
        async with sqlite_store.transaction() as tx:
            await made("t1").leave(tx, [seen()])
            raise RuntimeError
    assert await sqlite_store.learning.outbox.waiting() == 0


def test_nobody_is_learned_from_until_the_operator_says_so(tmp_path: Path) -> None:
    assert not producer(load_settings(None, {"data_dir": tmp_path}), "PH1.D").wants("t1")
    named = load_settings(None, {"data_dir": tmp_path, "owners.signals.tenants": ["t1"]})
    assert producer(named, "PH1.D").wants("t1") and not producer(named, "PH1.D").wants("t2")
    with pytest.raises(ConfigError):
        producer(load_settings(None, {"data_dir": tmp_path, "owners.signals.tenant": ["t1"]}), "PH1.D")
