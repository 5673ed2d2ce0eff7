"""Taking signals on (LRN-1): a signal becomes a row and its audit row, those of one moment in one transaction."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import protovalidate
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.scope_pb2 import TurnRef
from selene.learning.v1.signal_pb2 import LearningSignal

from servers.learning import ENGINE_ID
from servers.learning.intake import SECOND_NS, TimeLimits, field_problem, intake_path, safety_critical, time_problem
from servers.learning.priority import weigh
from servers.runtime.auth import Principal
from servers.runtime.batches import Batches
from servers.runtime.errors import FieldViolation, Refusal, reason_name
from servers.runtime.interceptors.validation import field_path, nul_violation
from servers.runtime.text import TextFields
from store import Conflict, Store, Transaction
from store.learning import (
    CAPTURED,
    ROOT,
    Absent,
    Captured,
    Erased,
    IdTaken,
    KeyReused,
    NewSignal,
    Outcome,
    Outgoing,
    signals_root,
)

AT_ONCE: Final = 500
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_S: Final = -62_135_596_800  # 0001-01-01, by google.protobuf.Timestamp
LAST_S: Final = 253_402_300_799  # 9999-12-31T23:59:59
SYSTEM: Final = "system"
REFUSED: Final = "signals.refused"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Capturing(Protocol[T_co]):
    """Work of one transaction that takes signals on."""

    def __call__(self, tx: Transaction, *, unseen: bool) -> Coroutine[Any, Any, T_co]:
        """`unseen`: see `store.learning.Signals.capture`."""


class Sound(NamedTuple):
    """A signal that keeps the rules. `late` is why it is not taken on, unless it had been before."""

    new: NewSignal
    late: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A signal, from whom and in which turn."""

    sound: Sound
    caller: Principal
    turn: TurnRef


class Rules:
    """What is asked of a signal beyond its being a message."""

    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits
        self._validator = protovalidate.Validator()
        self._texts = TextFields()

    def broken(self, signal: LearningSignal) -> Refusal | None:
        """FIELD_INVALID where a signal breaks the contract's rules, or a text holds a NUL; for those that no
        interceptor has looked at.
        """
        # In UTF-8 only a NUL has this byte.
        with_nul = self._texts.with_nul(signal) if b"\0" in signal.SerializeToString() else ()
        found = [nul_violation(path) for path in with_nul]
        for one in self._validator.collect_violations(signal):
            field = field_path(one.proto.field)
            if field not in with_nul:
                found.append(FieldViolation(field, one.proto.rule_id, one.proto.message))
        return Refusal.of_fields(found) if found else None

    def sound(self, signal: LearningSignal, arrived_ns: int) -> Sound:
        """The signal with the way that it takes. Refusal: CONSENT_REQUIRED, FIELD_INVALID."""
        if not signal.consent_asserted:
            raise Refusal(
                reasons.ERROR_REASON_CONSENT_REQUIRED, "only what the user consents to is captured and learned from"
            )
        problem = field_problem(signal)
        if problem is not None:
            field = f"signal.{problem.field}"
            raise Refusal.of_fields([FieldViolation(field, problem.rule, problem.description)])
        late = self._late(signal, arrived_ns)
        new = NewSignal(
            signal,
            intake_path(signal.signal_class, signal.severity),
            safety_critical=safety_critical(signal.signal_class, signal.severity),
            admissible=late is None,
        )
        return Sound(new, late)

    def _late(self, signal: LearningSignal, arrived_ns: int) -> Refusal | None:
        seconds, nanos = signal.occurred_at.seconds, signal.occurred_at.nanos
        if not (FIRST_S <= seconds <= LAST_S and 0 <= nanos < SECOND_NS):
            rule = FieldViolation("signal.occurred_at", "timestamp.range", "must be a time of the years 1 to 9999")
            raise Refusal.of_fields([rule])
        problem = time_problem(seconds * SECOND_NS + nanos, arrived_ns, signal.capture_source, self._limits)
        if problem is None:
            return None
        return Refusal(
            reasons.ERROR_REASON_SIGNAL_TIME_REFUSED,
            "the signal is from the future, too old to learn from, or came too late",
            cause=problem.cause.value,
            limit_s=str(problem.limit_s),
        )


def nanoseconds(moment: datetime) -> int:
    """Since the epoch, to the microsecond."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def taken(outcome: Outcome, sound: Sound) -> Captured:
    """The signal as it is kept.

    Refusal: IDEMPOTENCY_KEY_REUSED, FIELD_INVALID, CONSENT_REQUIRED, SIGNAL_TIME_REFUSED.
    """
    match outcome:
        case Captured():
            return outcome
        case KeyReused(key):
            raise Refusal(
                reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
                "this idempotency key was used before with different content",
                idempotency_key=key,
            )
        case IdTaken():
            rule = FieldViolation("signal.signal_id", "signal.id_unique", "is another signal's")
            raise Refusal.of_fields([rule])
        case Erased():
            raise _not_consented()
        case Absent():
            raise sound.late or _not_consented()


async def once(store: Store, work: Capturing[T]) -> T:
    """Take signals on in a transaction: as if none had been there before, and where one had, again with a look for
    each. StoreError.
    """
    try:
        return await store.perform(lambda tx: work(tx, unseen=True))
    except Conflict:
        return await store.perform(lambda tx: work(tx, unseen=False))


async def capture(
    tx: Transaction,
    tenant_id: str,
    new: Sequence[NewSignal],
    *,
    unseen: bool = False,
    actor: str,
    reason: str,
    turn: TurnRef | None = None,
    facts: Mapping[str, str] | None = None,
) -> list[Outcome]:
    """Within a transaction: signals of one tenant, with one audit row for those that are new. None where none is.

    `unseen`: see `store.learning.Signals.capture`.
    """
    consented = await _consented(tx, tenant_id, new)
    outcomes = await tx.learning.signals.capture(tenant_id, consented, weigh, unseen=unseen)
    captured = fresh(outcomes)
    if captured:
        _vouch(tx, tenant_id, captured, actor=actor, reason=reason, turn=turn, facts=facts)
    return outcomes


async def _consented(tx: Transaction, tenant_id: str, new: Sequence[NewSignal]) -> Sequence[NewSignal]:
    """The signals, those as not admissible that happened before their user's consent last ended, or to whom it has not
    been given again: whatever producers assert, and however late they tell.
    """
    users = {one.signal.user_id for one in new}
    until = await tx.governance.consents.revoked_until(tenant_id, users, tx.clock.now())
    if not until:
        return new
    limits = {user_id: nanoseconds(at) for user_id, at in until.items()}
    return [one._replace(admissible=False) if _is_revoked(one.signal, limits) else one for one in new]


def _is_revoked(signal: LearningSignal, limits: Mapping[str, int]) -> bool:
    limit_ns = limits.get(signal.user_id)
    return limit_ns is not None and signal.occurred_at.seconds * SECOND_NS + signal.occurred_at.nanos <= limit_ns


def _not_consented() -> Refusal:
    return Refusal(
        reasons.ERROR_REASON_CONSENT_REQUIRED,
        "its user's consent ended: what happened before is erased, and what is sent of it is not taken on",
    )


def fresh(outcomes: Sequence[Outcome]) -> list[Captured]:
    """Those that are new, in their order."""
    return [one for one in outcomes if isinstance(one, Captured) and not one.repeated]


def _vouch(
    tx: Transaction,
    tenant_id: str,
    captured: Sequence[Captured],
    *,
    actor: str,
    reason: str,
    turn: TurnRef | None,
    facts: Mapping[str, str] | None,
    key: str = "",
) -> None:
    tx.audit(
        tenant_id=tenant_id,
        owner=ENGINE_ID,
        actor=actor,
        transition=CAPTURED,
        reason_code=reason,
        turn=turn,
        idempotency_key=key,
        hashes={ROOT: signals_root(captured)},
        facts={"first": str(captured[0].row.sequence), "last": str(captured[-1].row.sequence), **(facts or {})},
    )


class Capturer:
    """Takes single signals on; the outcome is there once it is durable. Each has an audit row of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._offers: Batches[Offer, Outcome] = Batches(self._write, AT_ONCE)

    async def take_on(self, offer: Offer) -> Outcome:
        """StoreError."""
        return await self._offers.put(offer)

    async def _write(self, offers: Sequence[Offer]) -> Sequence[Outcome]:
        return await once(self._store, partial(_capture_each, offers))


async def _capture_each(offers: Sequence[Offer], tx: Transaction, *, unseen: bool) -> Sequence[Outcome]:
    found: dict[int, Outcome] = {}
    actors: dict[tuple[str, str], str] = {}
    # Tenants in one order, so that two transactions cannot wait for each other.
    placed = sorted(enumerate(offers), key=lambda one: (one[1].caller.tenant_id, one[0]))
    for tenant_id, group in groupby(placed, key=lambda one: one[1].caller.tenant_id):
        of_tenant = list(group)
        new = await _consented(tx, tenant_id, [offer.sound.new for _, offer in of_tenant])
        outcomes = await tx.learning.signals.capture(tenant_id, new, weigh, unseen=unseen)
        for (place, offer), outcome in zip(of_tenant, outcomes, strict=True):
            found[place] = outcome
            if not isinstance(outcome, Captured) or outcome.repeated:
                continue
            who = (offer.caller.tenant_id, offer.caller.subject)
            if who not in actors:
                actors[who] = (await tx.vault.commitment(*who, b"actor")).hex()
            key = outcome.row.signal.idempotency_key
            _vouch(
                tx,
                tenant_id,
                [outcome],
                actor=actors[who],
                reason="CAPTURED",
                turn=offer.turn,
                facts=None,
                key=key,
            )
    return [found[place] for place in range(len(offers))]


async def drain(store: Store, rules: Rules) -> int:
    """Take on what engines left, in one transaction; how many that were. What breaks a rule is told of and dropped.

    StoreUnavailable.
    """
    return await once(store, partial(_drain, rules)) if await store.learning.outbox.waiting() else 0


async def _drain(rules: Rules, tx: Transaction, *, unseen: bool) -> int:
    left = await tx.learning.outbox.take(AT_ONCE)
    left.sort(key=lambda one: one.signal.tenant_id)
    for tenant_id, group in groupby(left, key=lambda one: one.signal.tenant_id):
        refused: list[Refusal] = []
        sounds: list[Sound] = []
        for outgoing in group:
            sound = _outgoing(outgoing, rules)
            if isinstance(sound, Refusal):
                refused.append(sound)
            else:
                sounds.append(sound)
        new = [sound.new for sound in sounds]
        outcomes = await capture(tx, tenant_id, new, unseen=unseen, actor=SYSTEM, reason="LEFT_BY_ENGINES")
        for outcome, sound in zip(outcomes, sounds, strict=True):
            try:
                taken(outcome, sound)
            except Refusal as refusal:
                refused.append(refusal)
        if refused or not fresh(outcomes):
            _tell_refused(tx, tenant_id, refused)
    return len(left)


def _outgoing(outgoing: Outgoing, rules: Rules) -> Sound | Refusal:
    broken = rules.broken(outgoing.signal)
    if broken is not None:
        return broken
    try:
        return rules.sound(outgoing.signal, nanoseconds(outgoing.written_at))
    except Refusal as refusal:
        return refusal


def _tell_refused(tx: Transaction, tenant_id: str, refused: Sequence[Refusal]) -> None:
    """That engines left what could not be taken on, or what had been before."""
    counts: dict[str, int] = {}
    for one in refused:
        name = reason_name(one.reason)
        counts[name] = counts.get(name, 0) + 1
    tx.audit(
        tenant_id=tenant_id,
        owner=ENGINE_ID,
        actor=SYSTEM,
        transition=REFUSED,
        reason_code="BROKE_RULES" if refused else "KNOWN_BEFORE",
        facts={name: str(count) for name, count in counts.items()},
    )
