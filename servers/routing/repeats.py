"""What the idempotency key of a routed call does (ALL-4): one call of a key is served, and nothing is charged twice.

| the key stands for                              | what a call with it gets                           |
|-------------------------------------------------|----------------------------------------------------|
| nothing, or a call that failed or was left      | it is made, and charged for itself                 |
| a call under way in this process                | CALL_UNDER_WAY; no provider is asked               |
| a call that was served                          | CALL_ALREADY_SERVED; no provider is asked          |
| either of them, but with other content          | IDEMPOTENCY_KEY_REUSED; no provider is asked       |
| one served by another process a moment ago      | it is served once more, and charged nothing        |

A key is its tenant's, its caller's and one RPC's. No call waits for the store: a key is used up in the transaction that
keeps the rows of its call (`Recorder`), and every second a process reads what others have served. So each knows of all
keys of the last ten minutes, twenty thousand at most; the store knows a key for as long as idempotency keys are kept,
and charges no call with it again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from selene.common.v1 import error_reason_pb2 as reasons

from servers.routing.beside import Beside
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal
from store import Store, StoreError, request_hash
from store.routing import ServedCall, name_of

LOOK_EVERY_S: Final = 1.0
LOOKS_BACK: Final = timedelta(minutes=10)
OVERLAP: Final = timedelta(seconds=2)
"""Rows are dated before they are kept, by clocks that differ a little."""
READ_AT_ONCE: Final = 2_000
MOST_KNOWN: Final = 20_000

_log = structlog.get_logger("selene.routing")


def key_of(subject: str, idempotency_key: str) -> str:
    """One caller's key, as it is kept: whoever reads it learns neither."""
    return request_hash(subject, idempotency_key).hex()


@dataclass(frozen=True, slots=True)
class _Known:
    content: bytes
    request_id: str


class Repeats:
    """The keys of one RPC's calls, as one process knows them."""

    def __init__(self, store: Store, clock: Clock, rpc: str) -> None:
        self._store = store
        self._clock = clock
        self._rpc = rpc
        self._under_way: dict[tuple[str, str, str], _Known] = {}
        self._served: OrderedDict[tuple[str, str, str], _Known] = OrderedDict()
        self._looked_at: float | None = None
        self._since: datetime | None = None
        self._beside = Beside()

    def call(self, *, tenant_id: str, subject: str, key: str, content: bytes, request_id: str) -> ServedCall:
        """The call, as it is noted once it was served."""
        return ServedCall(tenant_id, self._rpc, key_of(subject, key), content, request_id)

    def begin(self, call: ServedCall, idempotency_key: str) -> None:
        """It is under way from now on, until `end`. Refusal: CALL_UNDER_WAY, CALL_ALREADY_SERVED,
        IDEMPOTENCY_KEY_REUSED.
        """
        name = name_of(call)
        served = self._served.get(name)
        known = served or self._under_way.get(name)
        if known is None:
            self._under_way[name] = _Known(call.content, call.request_id)
            return
        if known.content != call.content:
            raise Refusal(
                reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
                "this idempotency key was used before with different content",
                idempotency_key=idempotency_key,
            )
        if served is not None:
            raise Refusal(
                reasons.ERROR_REASON_CALL_ALREADY_SERVED,
                "the call of this idempotency key was served and is not made again",
                request_id=known.request_id,
            )
        raise Refusal(
            reasons.ERROR_REASON_CALL_UNDER_WAY,
            "the call of this idempotency key is under way",
            request_id=known.request_id,
        )

    def end(self, call: ServedCall, *, served: bool) -> None:
        """A call that began has ended; where it was not served, its key may be used again."""
        del self._under_way[name_of(call)]
        if served:
            self._learn(call)

    async def follow(self) -> None:
        """`refresh` once a second, which no store may hold up."""
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            await self._beside.run(self.refresh)

    async def refresh(self) -> None:
        """Learn what other processes have served. Never raises for the store."""
        since = self._since or self._clock.now() - LOOKS_BACK
        try:
            noted = await self._store.routing.served.since(self._rpc, since, READ_AT_ONCE)
        except StoreError as error:
            _log.warning("calls that others served were not read", cause=type(error).__name__)
            return
        for _, call in noted:
            self._learn(call)
        if noted:
            latest = noted[-1][0]
            # Where there is more, it goes on from there; rows of one transaction, which are fewer, have one date.
            self._since = latest if len(noted) == READ_AT_ONCE else latest - OVERLAP

    def _learn(self, call: ServedCall) -> None:
        self._served.setdefault(name_of(call), _Known(call.content, call.request_id))
        if len(self._served) > MOST_KNOWN:
            self._served.popitem(last=False)
