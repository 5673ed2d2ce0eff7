"""Every RPC is shown to work, and every reason that its comment promises is shown, or said why not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from selene.common.v1.error_reason_pb2 import ErrorReason

from tests.conformance.case import FOLDER, cases, load
from tests.conformance.clients import STUBS, method_named
from tests.conformance.contract import promised, reasons

RPCS = sorted(promised())
UNCOVERED: Mapping[str, Mapping[str, str]] = load(FOLDER / "uncovered.yaml")
EVERY_RPC = "every_rpc"


def _shown() -> dict[str, set[str]]:
    """The reasons that cases show, by RPC; empty text for a reply."""
    shown: dict[str, set[str]] = {rpc: set() for rpc in RPCS}
    for case in cases():
        shown[case.step.rpc].add(case.step.refused["reason"] if case.step.refused else "")
    return shown


SHOWN = _shown()


def test_the_contract_is_read_whole() -> None:
    methods = {f"{service}/{name}" for service in STUBS for name in _methods(service)}
    assert set(RPCS) == methods
    assert all(promised()[rpc] for rpc in RPCS)
    assert set(reasons()) == {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()[1:]}


def _methods(service: str) -> list[str]:
    rpc = next(rpc for rpc in RPCS if rpc.startswith(f"{service}/"))
    return list(method_named(rpc).containing_service.methods_by_name)


@pytest.mark.parametrize("rpc", RPCS)
def test_an_rpc_has_a_case_that_works(rpc: str) -> None:
    assert "" in SHOWN[rpc]


@pytest.mark.parametrize("rpc", RPCS)
def test_a_promised_reason_is_shown_or_said_why_not(rpc: str) -> None:
    excused = {**UNCOVERED[EVERY_RPC], **UNCOVERED.get(rpc, {})}
    missing = promised()[rpc] - SHOWN[rpc]
    assert missing <= set(excused), "add a case, or say in uncovered.yaml why there can be none"
    assert set(UNCOVERED.get(rpc, {})) <= missing, "shown after all: take it off the list"


def test_the_list_of_uncovered_reasons_names_what_exists() -> None:
    assert set(UNCOVERED) <= {EVERY_RPC, *RPCS}
    assert all(why for reasons_why in UNCOVERED.values() for why in reasons_why.values())


@pytest.mark.parametrize(
    "rule",
    [
        "REQUIRED",
        "STRING_MIN_LEN",
        "STRING_MAX_LEN",
        "STRING_IN",
        "STRING_PATTERN",
        "BYTES_LEN",
        "BYTES_MIN_LEN",
        "BYTES_MAX_LEN",
        "INT32_IN",
        "INT32_CONST",
        "INT32_GTE_LTE",
        "INT64_GTE",
        "ENUM_NOT_IN",
        "ENUM_DEFINED_ONLY",
        "DURATION_GTE",
        "DURATION_GTE_LTE",
        "REPEATED_MIN_ITEMS",
        "REPEATED_UNIQUE",
        "DOUBLE_GTE_LTE",
        "INT64_GTE_LTE",
        "AUDIO_FORMAT_OPUS_RATE",
        "CONSISTENCY_ORDER",
        "SYNTHESIZE_CONFIG_LINEAR16",
    ],
)
def test_a_kind_of_field_rule_comes_back_as_bad_request(rule: str) -> None:
    broken = {rule for case in cases() if case.step.refused for rule in case.step.refused.get("fields", {}).values()}
    assert rule in broken
