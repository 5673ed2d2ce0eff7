"""A builder for each row of §11, and the checks that every pack passes before it is anybody's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final

from google.protobuf.message import Message
from selene.artifacts.v1 import packs_pb2 as packs
from selene.gold.v1.evidence_pb2 import LabelledItem

from servers.learning.packs.routes import preferences
from servers.learning.packs.speech import adaptation, pronunciations, vocabulary
from servers.learning.packs.thresholds import with_trials
from servers.learning.packs.understanding import contexts, packets, texts
from servers.pack_formats import FORMATS, THRESHOLD_PACK, PackUnusable, parse

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Source:
    """What a pack is built from: the gold set, its items that count, and the payload that it is to replace, if any.

    `built_at` is RFC 3339 in UTC, to the second. `commitments` stand for the users of trials, by their names.
    """

    gold_set_ref: str
    gold_set_hash: bytes
    items: Sequence[LabelledItem]
    base: bytes = b""
    built_at: str = ""
    commitments: Mapping[str, bytes] = field(default_factory=dict)


class BuildFailed(ValueError):
    """No pack comes of this gold set. The text says why, and nothing of its content."""


def _header(pack_type: str, source: Source | None = None) -> packs.PackHeader:
    if source is None:
        return packs.PackHeader(pack_type=pack_type, format=FORMAT)
    return packs.PackHeader(
        pack_type=pack_type, format=FORMAT, gold_set_ref=source.gold_set_ref, gold_set_hash=source.gold_set_hash
    )


Entries = Callable[[Sequence[LabelledItem]], Sequence[Message]]


@dataclass(frozen=True, slots=True)
class Builder:
    """How one type is built: its message, the field of its entries, and what they are."""

    kind: Callable[..., Message]
    field: str
    entries: Entries


ROUTED: Final[Mapping[str, str]] = MappingProxyType(
    {"STT_ROUTING_POLICY_PACK": "stt", "TTS_ROUTING_POLICY_PACK": "tts"}
)
"""The packs that routes are learned for, and their use."""

BUILDERS: Final[Mapping[str, Builder]] = MappingProxyType(
    {
        "STT_ADAPTATION_PROFILE": Builder(packs.SttAdaptationProfile, "substitutions", adaptation),
        "STT_ROUTING_POLICY_PACK": Builder(
            packs.SttRoutingPolicyPack, "preferences", partial(preferences, use=ROUTED["STT_ROUTING_POLICY_PACK"])
        ),
        "STT_VOCAB_PACK": Builder(packs.SttVocabPack, "terms", vocabulary),
        "TTS_PRONUNCIATION_PACK": Builder(packs.TtsPronunciationPack, "entries", pronunciations),
        "TTS_ROUTING_POLICY_PACK": Builder(
            packs.TtsRoutingPolicyPack, "preferences", partial(preferences, use=ROUTED["TTS_ROUTING_POLICY_PACK"])
        ),
        "PERSONA_TONE_PROFILE_DELTA": Builder(packs.PersonaToneProfileDelta, "deltas", lambda items: ()),
        "CONTEXT_RANKING_PACK": Builder(packs.ContextRankingPack, "queries", contexts),
        "NLP_GOLD_LABEL_PACK": Builder(packs.NlpGoldLabelPack, "texts", texts),
        "LLM_GOLD_LABEL_PACK": Builder(packs.LlmGoldLabelPack, "packets", packets),
    }
)
"""Tone has no evidence in the contract yet, so nothing comes of it but the pack that changes nothing."""


def routed_types(items: Sequence[LabelledItem]) -> tuple[str, ...]:
    """The routing packs that items say something of."""
    return tuple(each for each, use in ROUTED.items() if preferences(items, use))


def orphans(pack_types: Iterable[str]) -> tuple[str, ...]:
    """Those that nobody here would load: they are reported, and never activated (LRN-7)."""
    return tuple(one for one in pack_types if one not in FORMATS or not FORMATS[one].loaded)


def build(pack_type: str, source: Source) -> bytes:
    """The pack's canonical bytes, which the parser of its format accepted. b"" where the items say nothing of it.

    BuildFailed.
    """
    if pack_type not in FORMATS:
        raise BuildFailed(f"{pack_type} has no format")
    if pack_type == THRESHOLD_PACK:
        payload = _thresholds(source)
    else:
        builder = BUILDERS[pack_type]
        entries = builder.entries(source.items)
        if not entries:
            return b""
        pack = builder.kind(header=_header(pack_type, source), **{builder.field: entries})
        payload = pack.SerializeToString(deterministic=True)
    return _accepted(pack_type, payload) if payload else b""


def empty(pack_type: str) -> bytes:
    """The pack of this type that changes nothing; b"" for thresholds, which there is none of."""
    builder = BUILDERS.get(pack_type)
    if builder is None:
        return b""
    return _accepted(pack_type, builder.kind(header=_header(pack_type)).SerializeToString(deterministic=True))


def _thresholds(source: Source) -> bytes:
    if not source.base:
        raise BuildFailed("there is no threshold pack in force to begin with")
    try:
        base = parse(THRESHOLD_PACK, source.base)
        return with_trials(
            base, source.items, source.gold_set_ref, source.gold_set_hash, source.built_at, source.commitments
        )
    except ValueError as error:
        raise BuildFailed(str(error)) from error


def _accepted(pack_type: str, payload: bytes) -> bytes:
    try:
        parse(pack_type, payload)
    except PackUnusable as error:
        raise BuildFailed(f"{pack_type}: {error}") from error
    return payload
