"""Between the dataclasses of `selene_messages` and the stubs of `selene`: the same contract, joined by its bytes."""

from typing import Any, TypeVar

import betterproto2
from google.protobuf.message import Message as Wire

D = TypeVar("D", bound=betterproto2.Message)
W = TypeVar("W", bound=Wire)


def to_message(wire: Wire, kind: type[D]) -> D:
    """The dataclass that says what ``wire`` says. ``kind`` must be the dataclass of the same message."""
    return kind.parse(wire.SerializeToString())


def to_wire(message: betterproto2.Message, kind: type[W]) -> W:
    """The stub message that says what ``message`` says. ``kind`` must be the stub of the same message."""
    return kind.FromString(bytes(message))


def to_document(message: betterproto2.Message) -> dict[str, Any]:
    """Proto JSON with the contract's field names, every field present, ready for `json.dumps`."""
    return message.to_dict(casing=betterproto2.Casing.SNAKE, include_default_values=True)
