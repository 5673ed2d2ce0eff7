"""Where the text of a message holds the character NUL, which SQLite can store and PostgreSQL cannot."""

from collections.abc import Iterator, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

NUL = "\0"


class TextFields:
    """Looks at strings and at what may hold them, and at nothing else: a frame of audio is passed over.

    Which fields of a kind of message lead to text is found out once. ``passing_ignored``: fields whose rules the
    contract leaves to their owner (`IGNORE_ALWAYS`, of a field or of its items) are passed over too.
    """

    def __init__(self, *, passing_ignored: bool = False) -> None:
        self._passing_ignored = passing_ignored
        self._leading: dict[type[Message], tuple[tuple[str, bool], ...]] = {}

    def with_nul(self, message: Message) -> list[str]:
        """Paths of the strings that hold a NUL: ``config.session_id``, ``tags[2]``, ``labels["k"]``."""
        return list(self._paths(message, ""))

    def _paths(self, message: Message, prefix: str) -> Iterator[str]:
        kind = type(message)
        leading = self._leading.get(kind)
        if leading is None:
            leading = self._leading[kind] = _leading_to_text(message.DESCRIPTOR, self._passing_ignored)
        for name, may_be_absent in leading:
            if not may_be_absent or message.HasField(name):
                yield from self._of_field(getattr(message, name), prefix + name)

    def _of_field(self, value: Any, path: str) -> Iterator[str]:
        if isinstance(value, str):
            if NUL in value:
                yield path
        elif isinstance(value, Message):
            yield from self._paths(value, f"{path}.")
        elif isinstance(value, Mapping):
            yield from self._of_map(value, path)
        else:
            for index, item in enumerate(value):
                yield from self._of_field(item, f"{path}[{index}]")

    def _of_map(self, items: Mapping[Any, Any], path: str) -> Iterator[str]:
        for key, item in items.items():
            if isinstance(key, str) and NUL in key:
                yield path
            elif isinstance(item, str | Message):
                yield from self._of_field(item, f'{path}["{key}"]' if isinstance(key, str) else f"{path}[{key}]")


def _leading_to_text(kind: Any, passing_ignored: bool) -> tuple[tuple[str, bool], ...]:
    """Names of the fields that are text or may hold some, and whether each may be absent."""
    return tuple(
        (field.name, field.message_type is not None and not field.is_repeated)
        for field in kind.fields
        if _is_text(field) or (field.message_type is not None and _reaches_text(field.message_type))
        if not (passing_ignored and _is_ignored(field))
    )


def _reaches_text(kind: Any) -> bool:
    seen, waiting = {kind.full_name}, [kind]
    while waiting:
        for field in waiting.pop().fields:
            if _is_text(field):
                return True
            inner = field.message_type
            if inner is not None and inner.full_name not in seen:
                seen.add(inner.full_name)
                waiting.append(inner)
    return False


def _is_ignored(field: FieldDescriptor) -> bool:
    # Typed as a descriptor of any kind; of which message it extends the options is known at runtime only.
    rules: Any = field.GetOptions().Extensions[validate_pb2.field]  # type: ignore[index]
    return validate_pb2.IGNORE_ALWAYS in (rules.ignore, rules.repeated.items.ignore)


def _is_text(field: FieldDescriptor) -> bool:
    return bool(field.type == FieldDescriptor.TYPE_STRING)
