"""A NUL is found in whatever text a message holds, under the path that names its field, and in nothing else."""

from typing import Any

import pytest
from google.protobuf import struct_pb2, wrappers_pb2
from google.rpc import error_details_pb2
from selene.common.v1.audio_pb2 import AudioFrame
from selene.learning.v1 import service_pb2 as learning
from selene.voiceid.v1 import service_pb2 as voiceid
from selene.voiceid.v1 import voiceid_pb2

from servers.runtime.text import TextFields


def struct(**fields: Any) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(fields)
    return made


@pytest.mark.parametrize(
    ("message", "paths"),
    [
        (voiceid.CreateEnrollmentRequest(user_id="mi\0ra", consent_ref="c"), ["user_id"]),
        (
            voiceid.IdentifyRequest(config=voiceid_pb2.StreamConfig(session_id="\0", tenant_id="t\0")),
            ["config.tenant_id", "config.session_id"],
        ),
        (voiceid.GetGalleryResponse(models=["ge2e", "\0", "cam\0"]), ["models[1]", "models[2]"]),
        (error_details_pb2.ErrorInfo(metadata={"k": "\0", "n": "v"}), ['metadata["k"]']),
        (error_details_pb2.ErrorInfo(metadata={"k\0": "v"}), ["metadata"]),
        (struct(a=["x", {"b": "\0"}]), ['fields["a"].list_value.values[1].struct_value.fields["b"].string_value']),
        (voiceid.IdentifyRequest(frame=AudioFrame(audio=b"\0\0")), []),
        (wrappers_pb2.BytesValue(value=b"\0"), []),
        (voiceid.CreateEnrollmentRequest(user_id="mira\u0001"), []),
        (voiceid.CreateEnrollmentRequest(), []),
    ],
)
def test_text_with_a_nul_is_named(message: Any, paths: list[str]) -> None:
    texts = TextFields()
    assert texts.with_nul(message) == paths
    assert texts.with_nul(message) == paths  # also once the kind of message is known


@pytest.mark.parametrize(
    ("message", "paths"),
    [
        (learning.CaptureStreamRequest(config={"tenant_id": "t\0"}), ["config.tenant_id"]),
        (learning.CaptureStreamRequest(signal={"sequence": 1, "signal": {"user_id": "\0"}}), []),
        (learning.CaptureStreamRequest(signals={"signals": [{"user_id": "\0"}]}), []),
    ],
)
def test_what_the_contract_leaves_to_the_owner_is_passed_over_where_told_to(message: Any, paths: list[str]) -> None:
    assert TextFields(passing_ignored=True).with_nul(message) == paths
    assert len(TextFields().with_nul(message)) == 1
