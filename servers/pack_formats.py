"""The formats of packs (§11), how they are parsed, and whether a server here loads them: nothing is packaged without a
format, and nothing goes live that nobody loads.

A pack's bytes are its message's deterministic ones and nothing else, so that its hash names its content. Threshold
packs of voice identity are canonical JSON; here is checked what everybody may know of them, the rest by their consumer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Final

import protovalidate
import rfc8785
from google.protobuf.message import DecodeError, Message
from selene.artifacts.v1 import packs_pb2 as packs

THRESHOLD_PACK: Final = "VOICEID_THRESHOLD_PACK_V1"
THRESHOLD_FORMAT: Final = 1
_TOP_BP: Final = 10_000


class PackFault(StrEnum):
    """Why a pack is refused; stable, for programs."""

    TYPE_UNKNOWN = "TYPE_UNKNOWN"
    """It has no format here, or nobody who loads it: an orphan."""
    UNREADABLE = "UNREADABLE"
    FIELD_INVALID = "FIELD_INVALID"
    NOT_CANONICAL = "NOT_CANONICAL"
    OF_ANOTHER_TYPE = "OF_ANOTHER_TYPE"


class PackUnusable(ValueError):
    """A pack that its consumer would not load."""

    def __init__(self, fault: PackFault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Format:
    """Whom §11 names for a pack, what of it changes there, and how it is read: `parse` raises PackUnusable.

    `loaded`: a server of this repository is that engine and loads it. What its rule asks beyond the format, it checks.
    """

    engine_id: str
    capability_id: str
    parse: Callable[[bytes], Any]
    loaded: bool = True


def parse(pack_type: str, payload: bytes) -> Any:
    """A pack by its format: the contract's message, or for threshold packs the JSON object. PackUnusable."""
    known = FORMATS.get(pack_type)
    if known is None:
        raise PackUnusable(PackFault.TYPE_UNKNOWN, pack_type)
    return known.parse(payload)


@cache
def _validator() -> protovalidate.Validator:
    return protovalidate.Validator()


def _message(pack_type: str, kind: type[Message], payload: bytes) -> Message:
    try:
        pack = kind.FromString(payload)
    except DecodeError:
        raise PackUnusable(PackFault.UNREADABLE) from None
    found = _validator().collect_violations(pack)
    if found:
        raise PackUnusable(PackFault.FIELD_INVALID, found[0].proto.rule_id)
    if pack.header.pack_type != pack_type:  # type: ignore[attr-defined]  # every pack has a header
        raise PackUnusable(PackFault.OF_ANOTHER_TYPE)
    pack.DiscardUnknownFields()
    if pack.SerializeToString(deterministic=True) != payload:
        raise PackUnusable(PackFault.NOT_CANONICAL)
    return pack


def _thresholds(payload: bytes) -> dict[str, Any]:
    try:
        pack = json.loads(payload)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise PackUnusable(PackFault.UNREADABLE) from None
    if not isinstance(pack, dict) or not isinstance(pack.get("policy"), dict):
        raise PackUnusable(PackFault.UNREADABLE)
    if (pack.get("artifact_type"), pack.get("format")) != (THRESHOLD_PACK, THRESHOLD_FORMAT):
        raise PackUnusable(PackFault.OF_ANOTHER_TYPE)
    limits = (pack["policy"].get("conf_mid_bp"), pack["policy"].get("conf_high_bp"))
    if any(type(limit) is not int for limit in limits) or not 0 <= limits[0] < limits[1] <= _TOP_BP:
        raise PackUnusable(PackFault.FIELD_INVALID, "policy")
    if rfc8785.dumps(pack) != payload:
        raise PackUnusable(PackFault.NOT_CANONICAL)
    return pack


def _read_by(
    engine_id: str, capability_id: str, pack_type: str, kind: type[Message], *, loaded: bool = True
) -> tuple[str, Format]:
    return pack_type, Format(engine_id, capability_id, partial(_message, pack_type, kind), loaded)


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    dict(
        (
            _read_by("PH1.C", "TRANSCRIBE", "STT_ADAPTATION_PROFILE", packs.SttAdaptationProfile),
            _read_by("PH1.C", "ROUTE", "STT_ROUTING_POLICY_PACK", packs.SttRoutingPolicyPack),
            _read_by("PH1.C", "VOCABULARY", "STT_VOCAB_PACK", packs.SttVocabPack),
            _read_by("PH1.TTS", "PRONOUNCE", "TTS_PRONUNCIATION_PACK", packs.TtsPronunciationPack),
            _read_by("PH1.TTS", "ROUTE", "TTS_ROUTING_POLICY_PACK", packs.TtsRoutingPolicyPack),
            _read_by("PH1.X", "TONE", "PERSONA_TONE_PROFILE_DELTA", packs.PersonaToneProfileDelta, loaded=False),
            _read_by("PH1.CONTEXT", "RANK", "CONTEXT_RANKING_PACK", packs.ContextRankingPack, loaded=False),
            _read_by("PH1.NLP", "PARSE", "NLP_GOLD_LABEL_PACK", packs.NlpGoldLabelPack, loaded=False),
            _read_by("PH1.D", "DECIDE", "LLM_GOLD_LABEL_PACK", packs.LlmGoldLabelPack),
            (THRESHOLD_PACK, Format("PH1.VOICE.ID", "IDENTIFY", _thresholds)),
        )
    )
)
"""Every row of §11, and threshold packs (§38.1). A type that is not here is never packaged."""

WRITERS: Final[Mapping[str, str]] = MappingProxyType(
    {"STT_VOCAB_PACK": "PH1.KNOW", "TTS_PRONUNCIATION_PACK": "PH1.KNOW"}
)
"""The single writers of §18."""


def writer_of(pack_type: str) -> str:
    """The only owner that writes this type: PH1.LEARN where §18 names nobody else."""
    return WRITERS.get(pack_type, "PH1.LEARN")
