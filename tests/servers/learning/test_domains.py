"""The learning domains against §3 and §15."""

from __future__ import annotations

import dataclasses

import pytest
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_MULTIMODAL_FUSION,
    GOLD_DOMAIN_PERSONA_TONE,
    GOLD_DOMAIN_SEARCH_EVIDENCE,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_TTS_ROUTE,
    GOLD_DOMAIN_UNSPECIFIED,
    GOLD_DOMAIN_VOCABULARY,
    GOLD_DOMAIN_VOICE_IDENTITY,
    GoldDomain,
)
from selene.learning.v1.domain_pb2 import LearningDomain
from selene.learning.v1.signal_pb2 import LearningSignal

from servers.learning.domains import BY_DOMAIN, DOMAINS, Domain, lacking
from servers.learning.evidence import CONTENT
from servers.learning.matrix import MATRIX

PACKS_OF_THE_SOURCE = {
    "STT_ADAPTATION_PROFILE",
    "STT_ROUTING_POLICY_PACK",
    "STT_VOCAB_PACK",
    "TTS_PRONUNCIATION_PACK",
    "TTS_ROUTING_POLICY_PACK",
    "PERSONA_TONE_PROFILE_DELTA",
    "CONTEXT_RANKING_PACK",
    "NLP_GOLD_LABEL_PACK",
    "LLM_GOLD_LABEL_PACK",
}


def test_the_twelve_domains_come_in_the_order_of_the_source_and_voice_identity_after_them() -> None:
    assert [each.domain for each in DOMAINS] == [each for each in GoldDomain.values() if each]
    assert set(BY_DOMAIN) == {each.domain for each in DOMAINS}
    assert DOMAINS[-1].domain == GOLD_DOMAIN_VOICE_IDENTITY


def test_a_domain_has_the_fields_of_its_contract() -> None:
    contract = {field.name for field in LearningDomain.DESCRIPTOR.fields}
    assert {field.name for field in dataclasses.fields(Domain)} == contract - {"lacking"}


def test_the_capture_fields_are_those_of_the_signal() -> None:
    signal = {field.name for field in LearningSignal.DESCRIPTOR.fields}
    # What the contract adds to §4: which domain, what happened, and who saw it.
    added = {"domain", "signal_class", "capture_source"}
    assert all(set(each.capture_fields) == signal - added for each in DOMAINS)


def test_storage_is_the_artifact_type_of_the_row_of_the_matrix() -> None:
    assert {each.domain: each.storage for each in DOMAINS if each.storage} == {
        row.domain: row.artifact_type for row in MATRIX
    }


def test_what_can_be_golded_has_evidence_and_lacks_nothing() -> None:
    golded = {row.domain for row in MATRIX}
    assert {each.domain for each in DOMAINS if not lacking(each)} == golded
    assert golded <= set(CONTENT)


@pytest.mark.parametrize(
    ("domain", "missing"),
    [
        (GOLD_DOMAIN_VOCABULARY, {"storage"}),
        (GOLD_DOMAIN_TTS_ROUTE, {"storage"}),
        (GOLD_DOMAIN_PERSONA_TONE, {"storage", "rollback_rule"}),
        (GOLD_DOMAIN_SEARCH_EVIDENCE, {"storage", "pack_types", "rollback_rule"}),
        (GOLD_DOMAIN_MULTIMODAL_FUSION, {"storage", "pack_types", "rollback_rule"}),
    ],
)
def test_what_the_source_leaves_open_is_listed_as_lacking(domain: GoldDomain, missing: set[str]) -> None:
    assert set(lacking(BY_DOMAIN[domain])) == missing


def test_whatever_is_taken_from_a_domain_it_lacks() -> None:
    whole = BY_DOMAIN[GOLD_DOMAIN_LLM_BOUNDARY]
    for field in dataclasses.fields(Domain):
        if field.name != "domain":
            empty = "" if isinstance(getattr(whole, field.name), str) else ()
            assert lacking(dataclasses.replace(whole, **{field.name: empty})) == (field.name,)
    assert lacking(dataclasses.replace(whole, domain=GOLD_DOMAIN_UNSPECIFIED)) == ()


def test_every_pack_of_the_source_is_built_from_a_domain() -> None:
    assert {pack for each in DOMAINS for pack in each.pack_types} >= PACKS_OF_THE_SOURCE


def test_lexica_are_written_by_the_knowledge_owner() -> None:
    assert BY_DOMAIN[GOLD_DOMAIN_TTS_PRONUNCIATION].packaging_owners == ("PH1.KNOW",)
    vocabularies = [each for each in DOMAINS if "STT_VOCAB_PACK" in each.pack_types]
    assert all("PH1.KNOW" in each.packaging_owners for each in vocabularies)
