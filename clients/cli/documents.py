"""Messages that a command reads from a file, as JSON with the contract's field names."""

import json
from pathlib import Path
from typing import TypeVar

import betterproto2
from google.protobuf import json_format
from google.protobuf.message import Message

from clients.wire import to_message

D = TypeVar("D", bound=betterproto2.Message)


class DocumentUnusable(ValueError):
    """A file that holds no such message; the text names it and what is wrong."""


def read(file: Path, wire: type[Message], kind: type[D]) -> D:
    """The message in a file. DocumentUnusable, OSError."""
    try:
        return to_message(json_format.Parse(file.read_text(encoding="utf-8"), wire()), kind)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise DocumentUnusable(f"{file}: {error}") from None


def read_many(file: Path, wire: type[Message], kind: type[D]) -> list[D]:
    """The messages in a file that holds a list of them. DocumentUnusable, OSError."""
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(listed, list):
            raise DocumentUnusable(f"{file}: a list is wanted")
        return [to_message(json_format.ParseDict(each, wire()), kind) for each in listed]
    except (json.JSONDecodeError, json_format.ParseError, UnicodeDecodeError) as error:
        raise DocumentUnusable(f"{file}: {error}") from None
