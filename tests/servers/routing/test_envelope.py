"""What an adapter hands back is taken as it is, or fails closed."""

import pytest
from google.protobuf.duration_pb2 import Duration
from selene.provider.v1 import provider_pb2 as v1

from servers.routing.envelope import Asked, Refusal, check, payload_ref

SECRET = "sk-" + "proj-abcdefghijklmnop"
ASKED = Asked(
    tenant_id="acme",
    provider_ref="openai/stt",
    capability=v1.CAPABILITY_STT,
    request_id="r-1",
    idempotency_key="i-1",
)


def result(**changes) -> v1.ProviderResultV1:
    fields = {
        "provider_ref": "openai/stt",
        "capability": v1.CAPABILITY_STT,
        "request_id": "r-1",
        "idempotency_key": "i-1",
        "simulation_context_ref": "none",
        "status": v1.PROVIDER_STATUS_OK,
        "reason_code": "TRANSCRIBED",
        "latency": Duration(nanos=420_000_000),
        "quality_score_bp": 9100,
        "raw_ref": "payload://acme/raw-1",
        "normalized_payload_ref": "payload://acme/normalised-1",
    }
    return v1.ProviderResultV1(**{name: value for name, value in (fields | changes).items() if value is not None})


@pytest.mark.parametrize(
    "good",
    [
        result(),
        result(raw_ref=""),
        result(status=v1.PROVIDER_STATUS_RETRYABLE_FAIL, reason_code="HTTP_429", normalized_payload_ref=""),
    ],
)
def test_what_was_asked_for_is_handed_on_as_it_is(good):
    assert check(good, ASKED) is good


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": v1.PROVIDER_STATUS_UNSPECIFIED}, Refusal.CONTRACT_VIOLATED),
        ({"status": 9}, Refusal.CONTRACT_VIOLATED),
        ({"capability": v1.CAPABILITY_UNSPECIFIED}, Refusal.CONTRACT_VIOLATED),
        ({"reason_code": "rate limited: please slow down"}, Refusal.CONTRACT_VIOLATED),
        ({"latency": None}, Refusal.CONTRACT_VIOLATED),
        ({"latency": Duration(seconds=-1)}, Refusal.CONTRACT_VIOLATED),
        ({"quality_score_bp": 10_001}, Refusal.CONTRACT_VIOLATED),
        ({"normalized_payload_ref": ""}, Refusal.CONTRACT_VIOLATED),
        ({"raw_ref": "payload://acme/" + "r" * 300}, Refusal.CONTRACT_VIOLATED),
        ({"request_id": "r" * 129}, Refusal.CONTRACT_VIOLATED),
        ({"request_id": ""}, Refusal.CONTRACT_VIOLATED),
        ({"request_id": "r-2"}, Refusal.REQUEST_ID_MISMATCH),
        ({"provider_ref": "google/stt"}, Refusal.PROVIDER_MISMATCH),
        ({"capability": v1.CAPABILITY_TTS}, Refusal.CAPABILITY_MISMATCH),
        ({"idempotency_key": "i-2"}, Refusal.IDEMPOTENCY_KEY_MISMATCH),
        ({"simulation_context_ref": "sim-9"}, Refusal.SIMULATION_MISMATCH),
        ({"normalized_payload_ref": "payload://other/normalised-1"}, Refusal.FOREIGN_PAYLOAD),
        ({"normalized_payload_ref": "payload://acme/../other/1"}, Refusal.FOREIGN_PAYLOAD),
        ({"normalized_payload_ref": "payload://acme/.."}, Refusal.FOREIGN_PAYLOAD),
        ({"normalized_payload_ref": "payload://acme/"}, Refusal.FOREIGN_PAYLOAD),
        ({"normalized_payload_ref": "payload://acme"}, Refusal.FOREIGN_PAYLOAD),
        ({"normalized_payload_ref": "payload://acme-2/1"}, Refusal.FOREIGN_PAYLOAD),
        ({"raw_ref": "https://vendor.example/answers/1"}, Refusal.FOREIGN_PAYLOAD),
        ({"status": v1.PROVIDER_STATUS_RETRYABLE_FAIL}, Refusal.PAYLOAD_WITHOUT_SUCCESS),
        ({"latency": Duration(seconds=240)}, Refusal.LATENCY_INVALID),
        ({"raw_ref": f"payload://acme/{SECRET}"}, Refusal.SECRET_EXPOSED),
    ],
)
def test_anything_else_fails_closed_with_its_reason(changes, reason):
    refused = check(result(**changes), ASKED)
    assert refused.reason_code == reason
    assert refused == v1.ProviderResultV1(
        provider_ref="openai/stt",
        capability=v1.CAPABILITY_STT,
        request_id="r-1",
        idempotency_key="i-1",
        simulation_context_ref="none",
        status=v1.PROVIDER_STATUS_TERMINAL_FAIL,
        reason_code=reason,
        latency=Duration(),
    )
    assert check(refused, ASKED) is refused


def test_a_latency_without_end_fails_closed():
    assert check(result(latency=Duration(seconds=2**62)), ASKED).status == v1.PROVIDER_STATUS_TERMINAL_FAIL


@pytest.mark.parametrize("junk", [None, {"status": "OK"}, b"OK", "OK", Duration(), ValueError("vendor said no")])
def test_what_is_no_result_fails_closed_and_is_not_repeated(junk):
    refused = check(junk, ASKED)
    assert (refused.status, refused.reason_code) == (v1.PROVIDER_STATUS_TERMINAL_FAIL, "ADAPTER_NOT_A_RESULT")
    assert "vendor" not in str(refused)


@pytest.mark.parametrize("where", ["", "latency"])
def test_a_vendor_field_that_the_contract_does_not_have_fails_closed(where):
    smuggled = result()
    (smuggled.latency if where else smuggled).MergeFromString(bytes([0xC2, 0x3E, 1, 65]))
    assert check(smuggled, ASKED).reason_code == Refusal.UNKNOWN_FIELD


@pytest.mark.parametrize("tenant", ["acme", "a/b", "..", "münchen", "a%2Fb"])
def test_a_reference_is_of_one_tenant_only(tenant):
    asked = Asked(
        tenant_id=tenant,
        provider_ref="openai/stt",
        capability=v1.CAPABILITY_STT,
        request_id="r-1",
        idempotency_key="i-1",
    )
    own = result(raw_ref="", normalized_payload_ref=payload_ref(tenant, "a b/c"))
    assert check(own, asked) is own
    foreign = result(raw_ref="", normalized_payload_ref=payload_ref(tenant + "2", "1"))
    assert check(foreign, asked).reason_code == Refusal.FOREIGN_PAYLOAD
