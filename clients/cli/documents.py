"""Messages that a command reads from a file, as JSON with the contract's field names."""

import difflib
import json
import re
from pathlib import Path
from typing import Final, TypeVar

import betterproto2
from google.protobuf import json_format
from google.protobuf.message import Message

from clients.wire import to_message

D = TypeVar("D", bound=betterproto2.Message)

_UNKNOWN: Final = re.compile(
    r"has no field named \"(?P<name>.*)\" at \"\w+\.?(?P<at>.*)\"\.\s.*\"\[(?P<known>.*)\]\"", re.S
)
_AT: Final = re.compile(r" at [A-Z]\w*(?=\.$)|(?<= at )[A-Z]\w*\.")
_JSON: Final = re.compile(
    r"Expecting (?P<wanted>.+?)( enclosed in double quotes)?: line (?P<line>\d+) column (?P<column>\d+)"
)
_FIELD: Final = re.compile(r"Failed to parse (\w+) field: ")


class DocumentUnusable(ValueError):
    """A file that holds no such message; the text names it and what is wrong."""


def read(file: Path, wire: type[Message], kind: type[D]) -> D:
    """The message in a file. DocumentUnusable, OSError."""
    try:
        return to_message(json_format.Parse(file.read_text(encoding="utf-8"), wire()), kind)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise DocumentUnusable(f"{file}: {in_words(error)}") from None


def read_part(file: Path, name: str, wire: type[Message], kind: type[D]) -> D:
    """The message that lies under a name in a file, as commands print it with --json. DocumentUnusable, OSError."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(held, dict) or not isinstance(held.get(name), dict):
            raise DocumentUnusable(f"{file}: no `{name}` is in it")
        return to_message(json_format.ParseDict(held[name], wire()), kind)
    except RecursionError:
        raise DocumentUnusable(f"{file}: nested too deep") from None
    except (json_format.ParseError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DocumentUnusable(f"{file}: {in_words(error)}") from None


def read_many(file: Path, wire: type[Message], kind: type[D]) -> list[D]:
    """The messages in a file that holds a list of them. DocumentUnusable, OSError."""
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(listed, list):
            raise DocumentUnusable(f"{file}: a list is wanted")
        return [to_message(json_format.ParseDict(each, wire()), kind) for each in listed]
    except (json.JSONDecodeError, json_format.ParseError, UnicodeDecodeError) as error:
        raise DocumentUnusable(f"{file}: {in_words(error)}") from None


def in_words(error: ValueError | json_format.ParseError) -> str:
    """What a file's reader complained about, by the contract's field names, and which of them were hardly missed."""
    text = str(error)
    if found := _JSON.search(text):
        wanted = {"property name": "a name in double quotes", "value": "a value"}.get(found["wanted"], found["wanted"])
        line = f" of line {found['line']}" if found["line"] != "1" else ""
        return f"no JSON: {wanted} is expected at column {found['column']}{line}"
    if found := _UNKNOWN.search(text):
        known = [re.sub("([A-Z])", r"_\1", name.strip("'")).lower() for name in found["known"].split(", ") if name]
        near = difflib.get_close_matches(found["name"], known, n=1)
        meant = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"
        where = f" in {found['at']}" if found["at"] else ""
        return f"unknown field `{found['name']}`{where}; {meant}"
    return _AT.sub("", _FIELD.sub(r"\1: ", " ".join(text.split()))).removeprefix("Failed to load JSON: ").rstrip(".")
