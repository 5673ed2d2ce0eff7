"""Who is who in delivery (§25): the global idempotency key, and what else is derived from an intent. Pure.

Every hash is SHA-256 over length-prefixed fields, so that no shifted boundary makes two intents look alike.
"""

from __future__ import annotations

from selene.delivery.v1.delivery_pb2 import Content, DeliveryChannel

from servers.framing import framed_digest


def delivery_idem(
    tenant_id: str,
    message_id: str,
    recipient_id: str,
    channel: DeliveryChannel,
    payload_hash: bytes,
    simulation_id: str,
) -> str:
    """``hash(tenant_id + message_id + recipient_id + channel + payload_hash + simulation_id)`` of §25: the id of a
    delivery and its key at every provider, 64 hexadecimal digits. The channel goes in as its number, which no rename
    changes; an empty ``simulation_id`` means none.
    """
    return framed_digest(tenant_id, message_id, recipient_id, str(int(channel)), payload_hash, simulation_id).hex()


def payload_hash(content: Content, address: str, sender: str) -> bytes:
    """What is said, to which address, by whom: 32 bytes."""
    return framed_digest(content.SerializeToString(deterministic=True), address, sender)


def intent_key(tenant_id: str, message_id: str, recipient_id: str, channel: DeliveryChannel, simulation_id: str) -> str:
    """The identity of an intent without what it says, 64 hexadecimal digits: two with the same one and another
    ``delivery_idem`` are the same message with other content, which is refused (ALL-4).
    """
    return framed_digest("intent", tenant_id, message_id, recipient_id, str(int(channel)), simulation_id).hex()


def attempt_group_id(delivery_id: str) -> str:
    """``delivery_attempt_group_id`` of §25, 64 hexadecimal digits: one for every attempt of a delivery, at whichever
    provider.
    """
    return framed_digest("attempt_group", delivery_id).hex()


def attempt_request_id(delivery_id: str, number: int) -> str:
    """Our own id of an attempt, 32 hexadecimal digits. An attempt that was never kept gives its number, and thereby its
    id, to the next: nothing had left under it.
    """
    return framed_digest("attempt", delivery_id, str(number)).hex()[:32]


def recipient_lock(tenant_id: str, recipient_id: str) -> str:
    """What is locked before a provider is called (§25, guardrail 1), 64 hexadecimal digits: a person of a tenant."""
    return framed_digest("recipient", tenant_id, recipient_id).hex()
