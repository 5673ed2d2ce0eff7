"""The gRPC edge of signals (LRN-1): one, or many over a stream. Acknowledged means durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from grpc.aio import EOF
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1 import paging_pb2
from selene.common.v1.scope_pb2 import TurnRef
from selene.learning.v1 import service_pb2 as messages
from selene.learning.v1 import service_pb2_grpc as learning_grpc
from selene.learning.v1.signal_pb2 import LearningSignal

from servers.learning import ENGINE_ID, NAME
from servers.learning.capturing import REFUSED, Capturer, Offer, Rules, Sound, capture, fresh, nanoseconds, once, taken
from servers.runtime.audio.order import config_expected
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, Principal, require_role, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.paging import PageTokens, page_size, page_token_invalid
from servers.runtime.storage import refusing_store_errors, turn
from store import Store, Transaction
from store.learning import Outcome

_TOKENS: Final = PageTokens("signals")

Placed = tuple[int, LearningSignal]
"""A signal with its place in its stream."""


class SignalsV1(learning_grpc.SignalServiceServicer):
    """selene.learning.v1.SignalService. `batch`: signals of a stream that are read ahead and committed together."""

    def __init__(self, store: Store, clock: Clock, rules: Rules, stopping: asyncio.Event, *, batch: int) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._stopping = stopping
        self._batch = batch
        self._capturer = Capturer(store)

    async def Capture(self, request: messages.CaptureRequest, context: Any) -> messages.CaptureResponse:
        caller = _producer(request.signal.tenant_id)
        sound = self._rules.sound(request.signal, nanoseconds(self._clock.now()))
        with refusing_store_errors():
            outcome = await self._capturer.take_on(Offer(sound, caller, turn()))
        captured = taken(outcome, sound)
        return messages.CaptureResponse(captured=captured.row, repeated=captured.repeated)

    async def CaptureStream(self, request_iterator: Any, context: Any) -> AsyncIterator[messages.CaptureStreamResponse]:
        config = _config(await context.read())
        caller = _producer(config.tenant_id)
        with refusing_store_errors():
            position = await self._store.learning.streams.position(config.tenant_id, config.stream_id)
        yield messages.CaptureStreamResponse(acknowledged_through=position)
        feed = Feed(context, self._stopping, self._batch)
        try:
            while signals := await feed.some():
                step = self._step(config.tenant_id, position, signals)
                if step.through > position:
                    await self._keep(config, caller, step)
                    position = step.through
                yield step.reply
                if step.broken is not None:
                    raise step.broken
            if feed.refusal is not None:
                raise feed.refusal
        finally:
            await feed.close()

    async def ListSignals(self, request: messages.ListSignalsRequest, context: Any) -> messages.ListSignalsResponse:
        _producer(request.tenant_id)
        size = page_size(request.page)
        before = _place(_TOKENS.after(request.page))
        with refusing_store_errors():
            rows = await self._store.learning.signals.page(
                request.tenant_id,
                limit=size + 1,
                domain=request.domain,
                intake_path=request.intake_path,
                user_id=request.user_id,
                before=before,
            )
        last = rows[size - 1] if len(rows) > size else None
        following = "" if last is None else _TOKENS.token(f"{last.priority_bp} {last.sequence}")
        return messages.ListSignalsResponse(signals=rows[:size], page=paging_pb2.PageInfo(next_page_token=following))

    def _step(self, tenant_id: str, position: int, signals: Sequence[Placed]) -> Step:
        """What to do with signals that came after a position, in their order, up to the first that is out of it."""
        step = Step(position)
        arrived_ns = nanoseconds(self._clock.now())
        for sequence, signal in signals:
            if sequence <= step.through:
                step.reply.repeated_count += 1
                continue
            if sequence != step.through + 1:
                step.broken = Refusal(
                    reasons.ERROR_REASON_STREAM_SEQUENCE_BROKEN,
                    "a signal is missing",
                    expected=str(step.through + 1),
                    received=str(sequence),
                )
                break
            step.through = sequence
            try:
                step.sound.append((sequence, self._sound(tenant_id, signal, arrived_ns)))
            except Refusal as refusal:
                step.refuse(sequence, refusal)
        step.reply.acknowledged_through = step.through
        return step

    def _sound(self, tenant_id: str, signal: LearningSignal, arrived_ns: int) -> Sound:
        """Refusal: what Capture refuses before it is stored."""
        broken = self._rules.broken(signal)
        if broken is not None:
            raise broken
        if signal.tenant_id != tenant_id:
            raise Refusal(reasons.ERROR_REASON_TENANT_MISMATCH, "the stream is another tenant's")
        return self._rules.sound(signal, arrived_ns)

    async def _keep(self, config: messages.CaptureStreamConfig, caller: Principal, step: Step) -> None:
        """Make a step durable, with its position; the reply is complete then."""
        with refusing_store_errors():
            outcomes = await once(self._store, partial(_keep, config, caller, turn(), step))
        new = repeated = 0
        for (sequence, sound), outcome in zip(step.sound, outcomes, strict=True):
            try:
                known_before = taken(outcome, sound).repeated
            except Refusal as refusal:
                step.refuse(sequence, refusal)
            else:
                repeated += known_before
                new += not known_before
        step.reply.repeated_count += repeated
        step.reply.taken += new
        step.reply.refused.sort(key=lambda one: one.sequence)


@dataclass(slots=True)
class Step:
    """Signals of a stream that are kept together, up to `through`, and what is replied once they are."""

    through: int
    sound: list[tuple[int, Sound]] = field(default_factory=list)
    reply: messages.CaptureStreamResponse = field(default_factory=messages.CaptureStreamResponse)
    broken: Refusal | None = None

    def refuse(self, sequence: int, refusal: Refusal) -> None:
        """By name; the stream goes on."""
        fields = [violation.field.removeprefix("signal.") for violation in refusal.violations]
        self.reply.refused.add(sequence=sequence, reason=reason_name(refusal.reason), fields=fields)


class Feed:
    """The signals of one stream, read ahead until so many are there: whoever sends faster than is stored, waits."""

    def __init__(self, call: Any, stopping: asyncio.Event, at_most: int) -> None:
        self._call = call
        self._stopping = stopping
        self._at_most = at_most
        self._signals: list[Placed] = []
        self._ended = False
        self._come = asyncio.Event()
        self._room = asyncio.Event()
        self.refusal: Refusal | None = None
        """Why the stream ended, where its caller did not end it; there once `some` gives nothing."""
        self._reading = asyncio.ensure_future(self._read())
        self._watching = asyncio.ensure_future(self._watch())

    async def some(self) -> list[Placed]:
        """What has come, at least one and not more than are read ahead; none once the stream has ended."""
        while not self._signals and not self._ended:
            self._come.clear()
            await self._come.wait()
        found, self._signals = self._signals[: self._at_most], self._signals[self._at_most :]
        self._room.set()
        return found

    async def close(self) -> None:
        """Read no further."""
        self._watching.cancel()
        self._reading.cancel()
        await asyncio.gather(self._reading, self._watching, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while (message := await self._call.read()) is not EOF:
                self._signals += self._placed(message)
                self._come.set()
                while len(self._signals) >= self._at_most:
                    self._room.clear()
                    await self._room.wait()
        except Refusal as refusal:
            self.refusal = refusal
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            self.refusal = Refusal(reasons.ERROR_REASON_NOT_SERVING, "the server is stopping; ask another", owner=NAME)
        self._ended = True
        self._come.set()

    def _placed(self, message: messages.CaptureStreamRequest) -> Iterable[Placed]:
        """Refusal: STREAM_CONFIG_EXPECTED, for another config."""
        match message.WhichOneof("message"):
            case "signal":
                return [(message.signal.sequence, message.signal.signal)]
            case "signals":
                return enumerate(message.signals.signals, start=message.signals.first_sequence)
            case _:
                raise config_expected(self._call.received - 1)

    async def _watch(self) -> None:
        await self._stopping.wait()
        self._reading.cancel()


async def _keep(
    config: messages.CaptureStreamConfig,
    caller: Principal,
    turn_ref: TurnRef,
    step: Step,
    tx: Transaction,
    *,
    unseen: bool,
) -> list[Outcome]:
    """Within a transaction: the signals, then where the stream stands. One audit row tells of both."""
    actor = (await tx.vault.commitment(caller.tenant_id, caller.subject, b"actor")).hex()
    facts = {"stream_id": config.stream_id, "through": str(step.through), "refused": str(len(step.reply.refused))}
    new = [sound.new for _, sound in step.sound]
    outcomes = await capture(
        tx, config.tenant_id, new, unseen=unseen, actor=actor, reason="STREAMED", turn=turn_ref, facts=facts
    )
    await tx.learning.streams.advance(config.tenant_id, config.stream_id, step.through)
    if not fresh(outcomes):
        tx.audit(
            tenant_id=config.tenant_id,
            owner=ENGINE_ID,
            actor=actor,
            transition=REFUSED,
            reason_code="NOTHING_NEW",
            turn=turn_ref,
            facts=facts,
        )
    return outcomes


def _config(first: Any) -> messages.CaptureStreamConfig:
    """Refusal: STREAM_CONFIG_EXPECTED."""
    if first is EOF or first.WhichOneof("message") != "config":
        raise config_expected(0)
    config: messages.CaptureStreamConfig = first.config
    return config


def _producer(tenant_id: str) -> Principal:
    require_role(ROLE_SERVICE, ROLE_OPERATOR)
    return require_tenant(tenant_id)


def _place(token: str) -> tuple[int, int] | None:
    """Refusal: PAGE_TOKEN_INVALID."""
    if not token:
        return None
    priority, _, sequence = token.partition(" ")
    if not (priority.isdecimal() and sequence.isdecimal() and len(token) < 40):
        raise page_token_invalid()
    place = int(priority), int(sequence)
    if max(place) >= 2**63:
        raise page_token_invalid()
    return place
