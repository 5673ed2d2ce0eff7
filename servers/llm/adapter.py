"""What the LLM owner asks of a provider, and the only things that a provider may answer (§23, RTE-7)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from selene.provider.v1.provider_pb2 import ProviderResultV1

from servers.routing.reasons import ProviderReason


class LlmReason(StrEnum):
    """``reason_code`` of an LLM provider's result, where it is not a `ProviderReason` of routing."""

    ANSWERED = "ANSWERED"
    UTTERANCE_EMPTY = "UTTERANCE_EMPTY"
    UTTERANCE_TOO_LONG = "UTTERANCE_TOO_LONG"
    LOCALE_UNSUPPORTED = "LOCALE_UNSUPPORTED"


CALLER_FAULTS = frozenset(
    {
        LlmReason.UTTERANCE_EMPTY,
        LlmReason.UTTERANCE_TOO_LONG,
        LlmReason.LOCALE_UNSUPPORTED,
        ProviderReason.CONTENT_REFUSED,
    }
)
"""Reasons that lie in what was asked: they say nothing of the provider's health and must not open its circuit."""


@dataclass(frozen=True, slots=True)
class KnownIntent:
    """An intent, and the names of its slots, sorted."""

    name: str
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a person said, in which locale (BCP 47) and when (aware, where they are); and the ids to carry back.

    `intents` are ones that are known, each a name and the names of its slots: a provider that makes up names uses these
    where they fit.
    """

    tenant_id: str
    request_id: str
    idempotency_key: str
    text: str
    locale: str
    said_at: datetime
    simulation_context_ref: str = "none"
    intents: tuple[KnownIntent, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the reply; all of them joined are the packet's reply."""

    text: str


@dataclass(frozen=True, slots=True)
class DecisionPacket:
    """What the provider takes the utterance for: a proposal, not a decision.

    ``slots`` are name and value, by name. ``confidence_bp`` is the provider's own, basis points. Where
    ``needs_clarification``, ``reply`` asks for it and no one may act on ``intent``.
    """

    intent: str
    slots: tuple[tuple[str, str], ...]
    reply: str
    confidence_bp: int
    needs_clarification: bool


LlmEvent = Delta | DecisionPacket | ProviderResultV1


class LlmAdapter(Protocol):
    """A provider of language understanding."""

    provider_ref: str

    def respond(self, utterance: Utterance, *, deadline: float) -> AsyncGenerator[LlmEvent, None]:
        """The reply in deltas, then one DecisionPacket, then the result.

        ``deadline`` is in the seconds of the adapter's monotonic clock. The last event, and only the last, is a
        ProviderResultV1; without an OK there is no packet, and deltas that came before it are void. Nothing that goes
        wrong with the provider is raised.
        """
        ...
