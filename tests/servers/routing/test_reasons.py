"""What a provider's result says of its health."""

import pytest
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_TERMINAL_FAIL, ProviderResultV1

from servers.llm import adapter as llm
from servers.llm import assembly as llm_assembly
from servers.routing.envelope import Refusal
from servers.routing.reasons import ProviderReason, outcome_of
from servers.routing.windows import Outcome
from servers.stt import adapter as stt
from servers.stt import service as stt_service
from servers.tts import adapter as tts
from servers.tts import assembly as tts_assembly


def failure(reason: str) -> ProviderResultV1:
    return ProviderResultV1(status=PROVIDER_STATUS_TERMINAL_FAIL, reason_code=reason)


@pytest.mark.parametrize(
    ("faults", "elsewhere"),
    [
        (llm.CALLER_FAULTS, llm_assembly.ELSEWHERE),
        (stt.CALLER_FAULTS, stt_service.ELSEWHERE),
        (tts.CALLER_FAULTS, tts_assembly.ELSEWHERE),
    ],
    ids=["llm", "stt", "tts"],
)
def test_what_a_vendor_refuses_by_its_policy_lies_in_the_request_and_is_asked_elsewhere(faults, elsewhere):
    assert outcome_of(failure(ProviderReason.CONTENT_REFUSED), faults) is None
    assert ProviderReason.CONTENT_REFUSED in elsewhere
    assert elsewhere <= faults


@pytest.mark.parametrize("reason", Refusal)
def test_a_result_that_is_not_taken_breaks_the_schema_or_a_policy(reason):
    against_policy = reason in (Refusal.SECRET_EXPOSED, Refusal.FOREIGN_PAYLOAD)
    expected = Outcome.POLICY_CONFLICT if against_policy else Outcome.SCHEMA_INVALID
    assert outcome_of(failure(reason), llm.CALLER_FAULTS) is expected
