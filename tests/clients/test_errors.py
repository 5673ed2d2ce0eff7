"""Errors read as one line that says what to do next."""

import socket

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from selene.common.v1.error_reason_pb2 import ErrorReason

from clients.errors import NEXT_STEPS, SeleneError, Violation, from_rpc, naming_errors

REASONS = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys() if name != "ERROR_REASON_UNSPECIFIED"]  # noqa: SIM118 - an enum wrapper, not a dict


def rpc_error(code: grpc.StatusCode, *details, message: str = "refused", raw: bytes | None = None):
    """An error of grpc.aio as a server's trailers make it."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    value = status.SerializeToString() if raw is None else raw
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", value))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, message)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_the_contract_has_a_next_step(reason):
    assert NEXT_STEPS[reason]


def test_no_next_step_is_for_a_reason_that_does_not_exist():
    assert set(NEXT_STEPS) == set(REASONS)


def test_reason_metadata_and_violations_are_read_from_the_status():
    error = from_rpc(
        rpc_error(
            grpc.StatusCode.INVALID_ARGUMENT,
            error_details_pb2.ErrorInfo(reason="FIELD_INVALID", domain="selene", metadata={"violations": "1"}),
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field="config.tenant_id", description="≥ 1")
                ]
            ),
            message="one field",
        )
    )
    assert (error.reason, error.metadata) == ("FIELD_INVALID", {"violations": "1"})
    assert error.violations == (Violation("config.tenant_id", "≥ 1"),)
    assert str(error) == "FIELD_INVALID: one field (config.tenant_id: ≥ 1). Next: correct the fields named here"


def test_a_next_step_names_what_the_metadata_says():
    error = SeleneError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "m",
        reason="CONTRACT_STAGE_REFUSED",
        metadata={"stage": "M0", "serves": "v1"},
    )
    assert error.next_step == "use generation v1: the tenant is at stage M0"


@pytest.mark.parametrize("reason", REASONS)
def test_a_next_step_without_its_metadata_is_another_text_without_gaps(reason):
    step = SeleneError(grpc.StatusCode.INTERNAL, "m", reason=reason).next_step
    assert step
    assert not set(step) & set("?{}")


@pytest.mark.parametrize("metadata", [{}, {"retry_after_ms": ""}])
def test_a_quota_that_never_fills_again_is_not_waited_for(metadata):
    error = SeleneError(grpc.StatusCode.RESOURCE_EXHAUSTED, "m", reason="QUOTA_EXHAUSTED", metadata=metadata)
    assert error.next_step == "have the quota raised: it never fills again"


@pytest.mark.parametrize(("metadata", "waits"), [({}, False), ({"retry_after_ms": "900"}, True)])
def test_who_may_not_be_asked_is_waited_for_only_where_that_helps(metadata, waits):
    metadata = {"providers": "openai/llm=CIRCUIT_FORCED_OPEN", **metadata}
    error = SeleneError(grpc.StatusCode.UNAVAILABLE, "m", reason="NO_PROVIDER_AVAILABLE", metadata=metadata)
    assert ("try again in 900 ms" in error.next_step) is waits
    assert "openai/llm=CIRCUIT_FORCED_OPEN" in error.next_step


def test_a_reason_of_another_domain_is_not_taken_for_ours():
    info = error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="elsewhere", metadata={"retry_after_ms": "5"})
    error = from_rpc(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, info))
    assert (error.reason, error.retry_after) == ("", 0.0)


def test_details_that_do_not_decode_leave_the_plain_status():
    error = from_rpc(rpc_error(grpc.StatusCode.NOT_FOUND, raw=b"\xff\xff\xff"))
    assert (error.code, error.message, error.reason) == (grpc.StatusCode.NOT_FOUND, "refused", "")


def test_a_message_of_many_lines_stays_on_one():
    assert "\n" not in str(SeleneError(grpc.StatusCode.UNKNOWN, "a\nb\n  c"))


@pytest.mark.parametrize(
    ("code", "reason", "unreachable"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", True),
        (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", True),
        (grpc.StatusCode.UNIMPLEMENTED, "", False),
    ],
)
def test_a_server_that_spoke_was_reached(code, reason, unreachable):
    assert SeleneError(code, "m", reason=reason).unreachable is unreachable


async def test_a_refused_connection_names_the_address_that_nothing_listens_at():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port, and it refuses
        target = f"127.0.0.1:{unused.getsockname()[1]}"
        async with grpc.aio.insecure_channel(target) as channel:
            with pytest.raises(SeleneError) as caught, naming_errors():
                await channel.unary_unary("/a/b")(b"", timeout=10)
    assert caught.value.next_step.startswith(f"nothing listens at {target}:")


def test_a_certificate_that_is_not_trusted_is_told_from_a_server_that_is_away():
    words = "Ssl handshake failed: OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: self signed certificate in chain"
    assert "--ca" in SeleneError(grpc.StatusCode.UNAVAILABLE, words).next_step
    assert "--ca" not in SeleneError(grpc.StatusCode.UNAVAILABLE, "Socket closed").next_step


async def test_a_target_that_is_written_as_a_url_is_told_how_to_be_written():
    async with grpc.aio.insecure_channel("http://127.0.0.1:7401") as channel:
        with pytest.raises(SeleneError) as caught, naming_errors():
            await channel.unary_unary("/a/b")(b"", timeout=10)
    assert "without http://" in caught.value.next_step


async def test_tls_with_a_server_that_speaks_without_it_is_told_to_be_left_out():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials()) as channel:
            with pytest.raises(SeleneError) as caught, naming_errors():
                await channel.unary_unary("/a/b")(b"", timeout=10)
    finally:
        await server.stop(None)
    assert "leave out --tls" in caught.value.next_step
