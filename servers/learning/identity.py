"""What a gold set is called and what it is made of (§18): its key, and the canonical bytes of its content. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Final

from selene.common.v1.scope_pb2 import Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate, LabelledItem, SealedItem
from selene.gold.v1.gold_pb2 import GoldDomain

Frame = SealedItem | LabelledItem
"""An item of a payload: sealed, or in payloads from before items were sealed, as it is."""

_LENGTH_BYTES: Final = 8


class PayloadMalformed(ValueError):
    """These bytes are no payload of a gold set."""


def idempotency_key(
    scope: Scope, domain: GoldDomain, policy_version: str, signal_ids: Collection[str], version: int
) -> str:
    """``hash(scope_type + scope_id + domain + policy_version + sorted_signal_ids + artifact_version)`` of §18: SHA-256
    over length-prefixed fields, 64 hexadecimal digits. Enums go in as their numbers, which no rename changes; an id
    that is named twice counts once.
    """
    named = sorted(set(signal_ids))
    fields = [str(scope.scope_type), scope.scope_id, str(domain), policy_version, *named, str(version)]
    return sha256(b"".join(_framed(field.encode()) for field in fields)).hexdigest()


def canonical_items(items: Iterable[LabelledItem]) -> tuple[LabelledItem, ...]:
    """The items of a gold set as ``canonical_payload`` takes them: what is sealed of them is as canonical as that."""
    return tuple(sorted((_content(each) for each in items), key=lambda each: each.item.item_id))


def canonical_payload(candidate: GoldCandidate, items: Iterable[Frame]) -> bytes:
    """The content of a gold set as bytes: what it teaches, to whom, by which policy, then its items by id, each with
    its labels by labeller; sealed, but for sets from before items were.

    The same evidence gives the same bytes, whoever assembled it, when, and in whichever order it arrived: the set's id,
    state, proposer and the times of labels are no content. Frames are length-prefixed deterministic protobuf.
    """
    header = GoldCandidate(
        domain=candidate.domain,
        tier=candidate.tier,
        tenant_id=candidate.tenant_id,
        policy_version=candidate.policy_version,
        scope=candidate.scope,
    )
    frames = sorted((each if isinstance(each, SealedItem) else _content(each) for each in items), key=_item_id)
    return b"".join(_framed(each.SerializeToString(deterministic=True)) for each in (header, *frames))


def read_payload(payload: bytes) -> tuple[GoldCandidate, tuple[Frame, ...]]:
    """What ``canonical_payload`` wrote. PayloadMalformed, also for bytes that it would not have written."""
    frames = _frames(payload)
    if not frames:
        raise PayloadMalformed
    try:
        header = GoldCandidate.FromString(frames[0])
        items = tuple(_frame(frame) for frame in frames[1:])
    except ValueError:  # DecodeError of every implementation is one
        raise PayloadMalformed from None
    if canonical_payload(header, items) != payload:
        raise PayloadMalformed
    return header, items


def payload_hash(payload: bytes) -> bytes:
    """SHA-256 of the canonical bytes: ``package_hash``, 32 bytes."""
    return sha256(payload).digest()


def _frame(frame: bytes) -> Frame:
    sealed = SealedItem.FromString(frame)
    if not sealed.sealed:
        return LabelledItem.FromString(frame)
    sealed.DiscardUnknownFields()
    return sealed


def _item_id(frame: Frame) -> str:
    return frame.item_id if isinstance(frame, SealedItem) else frame.item.item_id


def _content(labelled: LabelledItem) -> LabelledItem:
    content = LabelledItem()
    content.CopyFrom(labelled)
    content.labels.sort(key=lambda label: label.labeller)
    for label in content.labels:
        label.ClearField("labelled_at")
    content.DiscardUnknownFields()
    return content


def _framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(_LENGTH_BYTES, "big") + frame


def _frames(payload: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(payload):
        size = int.from_bytes(payload[at : at + _LENGTH_BYTES], "big")
        at += _LENGTH_BYTES
        if at + size > len(payload):
            raise PayloadMalformed
        frames.append(payload[at : at + size])
        at += size
    return frames
