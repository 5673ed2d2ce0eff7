"""What proto JSON cannot say and the wire can: bytes that are no message, times that no calendar has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from buf.validate import validate_pb2
from google.protobuf import message_factory

from tests.conformance.clients import Outcome, method_named, outcome_of
from tests.conformance.contract import promised
from tests.conformance.serving import Live
from tests.support.refused import as_given

TENANT = "wire"
TIMES = {
    "beyond the year 9999": (253_402_300_800, 0),
    "before the year 1": (-62_135_596_801, 0),
    "beyond every calendar": (2**62, 0),
    "more nanoseconds than a second has": (0, 1_000_000_000),
    "fewer nanoseconds than none": (0, -1),
}
WINDOWS = [
    (rpc, field)
    for rpc in ("selene.voiceid.v1.ProfileService/GetKpis", "selene.audit.v1.AuditService/ListEvents")
    for field in ("since", "until")
]


async def _sent(live: Live, rpc: str, raw: bytes) -> Outcome:
    """How a call ends whose first message is `raw`; whatever else it expects, it is refused before."""
    method = method_named(rpc)
    sides = {False: "unary", True: "stream"}
    metadata = (("authorization", f"Bearer {live.token(TENANT, {})}"),)
    async with grpc.aio.insecure_channel(live.target_of(method.containing_service.full_name)) as channel:
        kind = f"{sides[method.client_streaming]}_{sides[method.server_streaming]}"
        multicallable: Any = getattr(channel, kind)(f"/{rpc}")
        call = multicallable(iter([raw]) if method.client_streaming else raw, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async with as_given(call):
                await (call.read() if method.server_streaming else call)
    return outcome_of(refused.value)


@pytest.mark.parametrize("rpc", sorted(promised()))
async def test_bytes_that_are_no_message_are_refused(rpc: str, server: Callable[[str], Live]) -> None:
    outcome = await _sent(server("selene"), rpc, b"\x0a\xff")
    assert (outcome.code, outcome.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert outcome.fields == {"": "MESSAGE_DECODE"}


@pytest.mark.parametrize("time", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize(("rpc", "field"), WINDOWS)
async def test_a_time_that_is_none_is_refused(
    rpc: str, field: str, time: tuple[int, int], server: Callable[[str], Live]
) -> None:
    request: Any = message_factory.GetMessageClass(method_named(rpc).input_type)(tenant_id=TENANT)
    getattr(request, field).seconds, getattr(request, field).nanos = time
    outcome = await _sent(server("selene"), rpc, request.SerializeToString())
    assert (outcome.code, outcome.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert outcome.fields == {field: "TIMESTAMP_RANGE"}


def _is_ignored(field: Any) -> bool:
    """What is refused by itself, not with the message that holds it: a signal of a stream."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return validate_pb2.IGNORE_ALWAYS in (rules.ignore, rules.repeated.items.ignore)


def _with_nul(kind: Any) -> Iterator[tuple[str, bytes]]:
    """Each text of a request, by itself a NUL: its path, and the request's bytes."""
    for field in kind.fields:
        if _is_ignored(field):
            continue
        blank: Any = message_factory.GetMessageClass(kind)()
        if field.type == field.TYPE_STRING:
            blank = type(blank)(**{field.name: ["\0"] if field.is_repeated else "\0"})
            yield f"{field.name}[0]" if field.is_repeated else field.name, blank.SerializeToString()
        elif field.message_type is not None and not field.is_repeated:
            for path, raw in _with_nul(field.message_type):
                getattr(blank, field.name).ParseFromString(raw)
                yield f"{field.name}.{path}", blank.SerializeToString()


TEXTS = {rpc: texts for rpc in sorted(promised()) if (texts := dict(_with_nul(method_named(rpc).input_type)))}


@pytest.mark.parametrize("rpc", TEXTS)
async def test_text_with_a_nul_is_refused_in_every_field_of_every_request(
    rpc: str, server: Callable[[str], Live]
) -> None:
    for path, raw in TEXTS[rpc].items():
        outcome = await _sent(server("selene"), rpc, raw)
        assert (outcome.code, outcome.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
        assert outcome.fields.get(path) == "STRING_NUL", (path, outcome.fields)
