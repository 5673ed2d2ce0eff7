"""The seam between engines and learning (§4, §34.1): an engine leaves what it saw, in the transaction of what it did.

Engines never call engines: a signal waits in the store until learning takes it on, which may run elsewhere, or later.
Leaving one is an insert into a transaction that is made anyhow; nobody waits for learning, and what was undone left no
signal. A replay leaves the same key, and of one key one signal is learned from.

Nothing is left without consent. For whom signals are left at all is a tenant's consent, which the operator asserts in
the settings; none has it until it is named there. A signal about a person needs that person's own besides: `Seen` has
its reference, and without one the signal names nobody, or is not left by the engine that saw it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field
from selene.common.v1.scope_pb2 import TurnRef
from selene.gold.v1.gold_pb2 import GoldDomain
from selene.learning.v1.signal_pb2 import (
    CAPTURE_SOURCE_RUNTIME_OUTCOME,
    PRIVACY_SCOPE_TENANT,
    PRIVACY_SCOPE_USER,
    RETENTION_CLASS_STANDARD,
    CaptureSource,
    LearningSignal,
    Severity,
    SignalClass,
)

from servers.runtime.config import Settings
from store import Transaction

SETTINGS: Final = "signals"
EVERY_TENANT: Final = "*"
ANONYMOUS: Final = "anonymous"
"""The surrogate of whoever is not named."""
UNKNOWN: Final = "unknown"

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._:-]")
_LONGEST_ID: Final = 128


class SignalSettings(BaseModel):
    """`owners.signals`: whose signals the engines leave for learning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenants: frozenset[str] = Field(
        default=frozenset(), description="tenants that consent to being learned from; `*` is every tenant"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Something that an engine saw. `event` names it: the same event of the same class is one signal.

    `user_id` is empty where nobody is named; where somebody is, their consent was looked up. References never hold what
    they refer to. Basis points.
    """

    tenant_id: str
    event: str
    signal_class: SignalClass
    domain: GoldDomain
    capability: str
    reason_code: str
    outcome: str
    input_ref: str
    output_ref: str
    severity: Severity
    confidence_bp: int
    impact_bp: int
    at: datetime
    turn: TurnRef
    user_id: str = ""
    device_id: str = ""
    session_id: str = ""
    source: CaptureSource = CAPTURE_SOURCE_RUNTIME_OUTCOME


class Producer:
    """Leaves the signals of one engine."""

    def __init__(self, engine_id: str, tenants: frozenset[str]) -> None:
        self._engine_id = engine_id
        self._tenants = tenants

    def wants(self, tenant_id: str) -> bool:
        """Whether this tenant consents to being learned from; else there is nothing to look for."""
        return EVERY_TENANT in self._tenants or tenant_id in self._tenants

    async def leave(self, tx: Transaction, seen: Iterable[Seen]) -> None:
        """With the transaction, of which the caller audits what it is about. StoreUnavailable."""
        await tx.learning.outbox.put([self.signal(one) for one in seen if self.wants(one.tenant_id)])

    def key(self, signal_class: SignalClass, event: str) -> str:
        """The id, and the idempotency key, of the signal of an event."""
        named = SignalClass.Name(signal_class).removeprefix("SIGNAL_CLASS_")
        return _NOT_IN_IDS.sub("_", f"{self._engine_id}:{named}:{event}")[:_LONGEST_ID]

    def signal(self, seen: Seen) -> LearningSignal:
        """As learning will take it on."""
        key = self.key(seen.signal_class, seen.event)
        signal = LearningSignal(
            signal_id=key,
            correlation_id=seen.turn.correlation_id or key,
            turn_id=seen.turn.turn_id or UNKNOWN,
            tenant_id=seen.tenant_id,
            user_id=seen.user_id or ANONYMOUS,
            device_id=seen.device_id or UNKNOWN,
            session_id=seen.session_id or UNKNOWN,
            source_engine_id=self._engine_id,
            source_capability_id=seen.capability,
            reason_code=seen.reason_code,
            input_ref=seen.input_ref,
            output_ref=seen.output_ref,
            outcome_label=seen.outcome,
            consent_asserted=True,
            privacy_scope=PRIVACY_SCOPE_USER if seen.user_id else PRIVACY_SCOPE_TENANT,
            retention_class=RETENTION_CLASS_STANDARD,
            severity=seen.severity,
            confidence_bp=seen.confidence_bp,
            impact_estimate_bp=seen.impact_bp,
            idempotency_key=key,
            domain=seen.domain,
            signal_class=seen.signal_class,
            capture_source=seen.source,
        )
        signal.occurred_at.FromDatetime(seen.at)
        return signal


def producer(settings: Settings, engine_id: str) -> Producer:
    """The producer of an engine, as the operator configured it. ConfigError."""
    return Producer(engine_id, settings.owner_settings(SETTINGS, SignalSettings).tenants)
