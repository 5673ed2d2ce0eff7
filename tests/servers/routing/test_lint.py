"""What is hardly meant in a routing profile: a provider that nobody serves, and places that two providers share."""

from __future__ import annotations

import pytest
from selene.routing.v1 import routing_pb2 as v1

from servers.routing.lint import lint
from servers.routing.profile import validate
from servers.routing.shipped import shipped_adapters, shipped_profile

STT, LLM, EMAIL = v1.DOMAIN_STT, v1.DOMAIN_LLM, v1.DOMAIN_EMAIL
ADAPTERS = shipped_adapters()


def told(profile: v1.ProviderRoutingProfileV1) -> list[tuple[str, str]]:
    return [(each.code.value, each.where) for each in lint(profile, ADAPTERS)]


def moved(ref: str, priority: int, domain: v1.Domain = LLM) -> v1.ProviderOverride:
    return v1.ProviderOverride(domain=domain, provider_ref=ref, priority=priority)


def switched(ref: str, *, enabled: bool, domain: v1.Domain = LLM) -> v1.ProviderOverride:
    return v1.ProviderOverride(domain=domain, provider_ref=ref, enabled=enabled)


def test_nothing_of_the_shipped_profile_is_doubted() -> None:
    assert told(shipped_profile()) == []


@pytest.mark.parametrize(("domain", "where"), [("stt", "stt.providers[1]"), ("llm", "llm.providers[1]")])
def test_a_provider_without_an_adapter_is_doubted_and_no_problem(domain: str, where: str) -> None:
    profile = shipped_profile()
    getattr(profile, domain).providers[1].provider_ref = "opnai/typo"
    assert told(profile) == [("UNKNOWN_ADAPTER", where)]
    assert validate(profile) == ()


def test_an_adapter_of_another_domain_does_not_help() -> None:
    profile = shipped_profile()
    profile.stt.providers[0].provider_ref = "openai/tts-hd"
    profile.tts.providers[0].provider_ref = "openai/stt"
    assert told(profile) == [("UNKNOWN_ADAPTER", "stt.providers[0]"), ("UNKNOWN_ADAPTER", "tts.providers[0]")]


def test_senders_of_messages_are_named_by_operators() -> None:
    profile = shipped_profile()
    profile.delivery.email.providers[0].provider_ref = "smtp/of-our-own"
    assert told(profile) == []


def test_enabled_providers_of_a_list_that_share_a_priority_are_doubted() -> None:
    profile = shipped_profile()
    for provider in profile.stt.providers:
        provider.priority = 1
    profile.delivery.sms.providers[1].priority = profile.delivery.sms.providers[0].priority
    assert told(profile) == [
        ("DUPLICATE_PRIORITY", "stt.providers[1]"),
        ("DUPLICATE_PRIORITY", "stt.providers[2]"),
        ("DUPLICATE_PRIORITY", "delivery.sms.providers[1]"),
    ]


def test_a_provider_that_is_off_shares_no_place() -> None:
    profile = shipped_profile()
    profile.llm.providers[1].priority, profile.llm.providers[1].enabled = 1, False
    assert told(profile) == []
    profile.tenant_overrides.add(
        tenant_id="t", section=v1.LayerSection(providers=[switched("llama/llm", enabled=True)])
    )
    assert told(profile) == [("DUPLICATE_PRIORITY", "tenant_overrides[0].section.providers[0]")]


def test_an_override_that_brings_a_provider_to_anothers_place_is_doubted_where_it_stands() -> None:
    profile = shipped_profile()
    profile.tenant_overrides.add(tenant_id="t", section=v1.LayerSection(providers=[moved("llama/llm", 5)]))
    above = [moved("selene-local/llm", 5)]
    profile.locale_overrides.add(tenant_id="t", scope_id="de", section=v1.LayerSection(providers=above))
    # For another tenant the same changes nothing: there nobody is in that place.
    profile.user_exceptions.add(tenant_id="u", scope_id="mira", section=v1.LayerSection(providers=above))
    assert told(profile) == [("DUPLICATE_PRIORITY", "locale_overrides[0].section.providers[0]")]


def test_two_that_change_places_share_none() -> None:
    profile = shipped_profile()
    first, second = profile.llm.providers[0], profile.llm.providers[1]
    profile.global_default.providers.extend(
        [moved(first.provider_ref, second.priority), moved(second.provider_ref, first.priority)]
    )
    assert told(profile) == []


def test_what_was_doubted_below_is_not_doubted_again_above() -> None:
    profile = shipped_profile()
    profile.llm.providers[1].priority = profile.llm.providers[0].priority
    timeout = v1.ProviderOverride(domain=LLM, provider_ref="llama/llm")
    timeout.timeout.FromSeconds(3)
    profile.tenant_overrides.add(tenant_id="t", section=v1.LayerSection(providers=[timeout]))
    assert told(profile) == [("DUPLICATE_PRIORITY", "llm.providers[1]")]


def test_overrides_of_what_is_not_there_are_problems_and_not_doubted() -> None:
    profile = shipped_profile()
    profile.global_default.providers.extend([moved("nobody/llm", 1), moved("smtp/primary", 1, v1.DOMAIN_UNSPECIFIED)])
    assert told(profile) == []
    assert validate(profile) != ()


def test_a_profile_without_anything_is_linted() -> None:
    assert told(v1.ProviderRoutingProfileV1()) == []


def test_every_doubt_is_described_without_a_value() -> None:
    profile = shipped_profile()
    profile.llm.providers[0].provider_ref = "opnai/llm"
    profile.llm.providers[1].priority = 1
    assert len({each.description for each in lint(profile, ADAPTERS)}) == 2
    assert not any("opnai" in each.description for each in lint(profile, ADAPTERS))
