import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.error_reason_pb2 import ErrorReason

from servers.runtime.errors import CODES, MAX_VIOLATIONS, FieldViolation, Refusal, to_status

PROTO = Path(__file__).parents[3] / "proto/selene/common/v1/error_reason.proto"


def documented_codes() -> dict[str, str]:
    """The first word of each value's comment."""
    found, code = {}, ""
    for line in PROTO.read_text().splitlines():
        comment = re.match(r"\s*// ([A-Z_]+)\. ", line)
        value = re.match(r"\s*(ERROR_REASON_\w+) = \d+;", line)
        if comment:
            code = comment[1]
        if value:
            found[value[1]] = code
            code = ""
    return found


def test_every_reason_has_a_code() -> None:
    assert set(CODES) == set(ErrorReason.values())


@pytest.mark.parametrize("name", list(ErrorReason.DESCRIPTOR.values_by_name)[1:])
def test_the_code_of_a_reason_is_the_one_its_comment_begins_with(name: str) -> None:
    assert CODES[ErrorReason.Value(name)].name == documented_codes()[name]


def rich_status(refusal: Refusal) -> status_pb2.Status:
    status = to_status(refusal)
    assert status.trailing_metadata is not None
    [(key, value)] = status.trailing_metadata
    assert key == "grpc-status-details-bin"
    return status_pb2.Status.FromString(value)


def test_a_refusal_travels_as_error_info_without_the_prefix() -> None:
    refusal = Refusal(reasons.ERROR_REASON_TOKEN_EXPIRED, "the token has expired", cause="exp")
    status, info = rich_status(refusal), error_details_pb2.ErrorInfo()
    assert status.code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert status.message == to_status(refusal).details == "the token has expired"
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == ("TOKEN_EXPIRED", "selene", {"cause": "exp"})


def test_field_violations_travel_as_a_bad_request() -> None:
    refusal = Refusal.of_fields([FieldViolation("frame.audio", "bytes.max_len", "must be at most 15360 bytes")])
    detail = error_details_pb2.BadRequest()
    assert rich_status(refusal).details[1].Unpack(detail)
    [violation] = detail.field_violations
    assert (violation.field, violation.reason) == ("frame.audio", "BYTES_MAX_LEN")
    assert violation.description == "must be at most 15360 bytes"


def test_many_long_violations_are_all_counted_and_still_fit_into_trailers() -> None:
    refusal = Refusal.of_fields([FieldViolation("f" * 5000, "r" * 500, "d" * 5000)] * 1000)
    status, detail = rich_status(refusal), error_details_pb2.BadRequest()
    assert refusal.metadata == {"violations": "1000"}
    assert status.details[1].Unpack(detail)
    assert len(detail.field_violations) == MAX_VIOLATIONS
    base64_size = len(status.SerializeToString()) * 4 / 3
    assert base64_size + len(status.message) < 7 * 1024
