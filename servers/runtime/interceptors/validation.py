"""Fourth: bytes become a message, and the message keeps the rules that its contract states."""

from collections.abc import Callable
from typing import Any

import protovalidate
from google.protobuf.message import DecodeError
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.context import Behaviour, Call, Method
from servers.runtime.errors import FieldViolation, Refusal
from servers.runtime.text import TextFields

_NUL_BYTE = b"\0"
_RETRY_AFTER_MS = "1000"


class ValidationLayer:
    """Parses and checks each inbound message, unary or streamed, with protovalidate.

    Beyond what the contract states, no message may be longer than ``max_bytes``, and no text may hold the character
    NUL: not every store can keep it; what the contract leaves to the owner of a stream (`IGNORE_ALWAYS`) is looked at
    by that owner, who refuses it without ending the stream. Where unary requests of more than ``answering_bytes``
    together would be answered at once, the latest is refused with OVERLOADED.
    """

    def __init__(self, max_bytes: int, answering_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._answering_bytes = answering_bytes
        self._held = 0
        self._validator = protovalidate.Validator()
        self._texts = TextFields()
        self._texts_of_streams = TextFields(passing_ignored=True)

    def wrap(self, method: Method, handler: Any, proceed: Behaviour) -> Behaviour:
        texts = self._texts_of_streams if method.client_streaming else self._texts
        admit = self._admission(handler.request_deserializer, texts)

        async def validate_each(call: Call) -> bytes | None:
            call.admit = admit
            return await proceed(call)

        async def validate(call: Call) -> bytes | None:
            size = len(call.message)
            if self._held and self._held + size > self._answering_bytes:
                raise _overloaded(self._answering_bytes)
            self._held += size
            try:
                call.message = admit(call.message)
                return await proceed(call)
            finally:
                self._held -= size

        return validate_each if method.client_streaming else validate

    def _admission(self, parse: Callable[[bytes], Any] | None, texts: TextFields) -> Callable[[bytes], Any]:
        collect, max_bytes = self._validator.collect_violations, self._max_bytes

        def admit(raw: bytes) -> Any:
            if parse is None:
                return raw
            if len(raw) > max_bytes:
                rule = f"a message is at most {max_bytes} bytes, not {len(raw)}"
                raise Refusal.of_fields([FieldViolation("", "message.max_bytes", rule)])
            try:
                message = parse(raw)
            except DecodeError:
                undecodable = FieldViolation("", "message.decode", "the bytes are not a message of this type")
                raise Refusal.of_fields([undecodable]) from None
            # In UTF-8 only a NUL has this byte. Named first: of many violations the details hold the first only.
            with_nul = texts.with_nul(message) if _NUL_BYTE in raw else ()
            broken = [nul_violation(path) for path in with_nul]
            named = (_as_field_violation(violation.proto) for violation in collect(message))
            broken += [violation for violation in named if violation.field not in with_nul]
            if broken:
                raise Refusal.of_fields(broken)
            return message

        return admit


def _overloaded(limit: int) -> Refusal:
    return Refusal(
        reasons.ERROR_REASON_OVERLOADED,
        "requests of too many bytes at once; try again later",
        limit=str(limit),
        retry_after_ms=_RETRY_AFTER_MS,
    )


def nul_violation(path: str) -> FieldViolation:
    """Of a text that holds the character NUL."""
    return FieldViolation(path, "string.nul", "must not hold the character NUL")


def _as_field_violation(violation: Any) -> FieldViolation:
    return FieldViolation(field_path(violation.field), violation.rule_id, violation.message)


def field_path(path: Any) -> str:
    """A FieldPath as text: ``frame.audio``, ``clips[2].format``, ``labels["k"]``; empty for the whole message."""
    if path is None:
        return ""
    return ".".join(element.field_name + _subscript(element.subscript) for element in path.elements)


def _subscript(subscript: Any) -> str:
    if subscript is None:
        return ""
    match subscript.value:
        case bool(key):
            return f"[{str(key).lower()}]"
        case str(key):
            escaped = key.replace("\\", "\\\\").replace('"', '\\"')
            return f'["{escaped}"]'
        case number:
            return f"[{number}]"
