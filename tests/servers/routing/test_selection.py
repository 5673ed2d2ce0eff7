"""Which provider serves a call."""

import pytest
from selene.routing.v1 import routing_pb2 as v1

from servers.routing.circuit import evaluate, force_close, force_open, lease, new_circuit
from servers.routing.defaults import DEFAULTS
from servers.routing.profile import compile as resolve
from servers.routing.selection import Chosen, NoProvider, Refusal, select
from servers.routing.windows import Measures

STT = DEFAULTS[v1.DOMAIN_STT].policy
ACME = v1.RoutingSubject(tenant_id="acme")
DEAD, QUIET = Measures({}, 25), Measures({})


def open_since(now: float):
    return evaluate(new_circuit(now), DEAD, now, STT)[0]


def half_open(now: float):
    return evaluate(open_since(now - 500), QUIET, now, STT)[0]


def chosen(found) -> str:
    assert isinstance(found, Chosen)
    return found.provider.provider_ref


def test_the_primary_of_the_table_is_chosen_while_all_are_well(profile):
    found = select(resolve(profile, ACME), {}, v1.DOMAIN_STT)
    assert chosen(found) == "openai/stt"
    assert (found.probe, found.failover, found.passed_over) == (False, False, ())


def test_a_fallback_says_why_those_before_it_were_passed_over(profile):
    found = select(resolve(profile, ACME), {"openai/stt": open_since(0.0)}, v1.DOMAIN_STT, tried=("google/stt",))
    assert chosen(found) == "selene-local/stt"
    assert found.failover
    assert found.passed_over == (("openai/stt", Refusal.CIRCUIT_OPEN), ("google/stt", Refusal.ALREADY_TRIED))


def test_a_half_open_primary_is_chosen_as_a_probe_until_its_probes_are_out(profile):
    circuit, resolved = half_open(1000.0), resolve(profile, ACME)
    for number in range(3):
        found = select(resolved, {"openai/stt": circuit}, v1.DOMAIN_STT)
        assert chosen(found) == "openai/stt"
        assert found.probe
        circuit, _ = lease(circuit, str(number), 1000.0, 10.0, STT)
    found = select(resolved, {"openai/stt": circuit}, v1.DOMAIN_STT)
    assert chosen(found) == "google/stt"
    assert found.passed_over == (("openai/stt", Refusal.NO_PROBE_FREE),)


def test_all_open_names_the_earliest_retry_and_every_reason(profile):
    circuits = {
        "openai/stt": open_since(1000.0),
        "google/stt": open_since(990.0),
        "selene-local/stt": force_open(new_circuit(0.0), "BY_HAND", 0.0)[0],
    }
    assert select(resolve(profile, ACME), circuits, v1.DOMAIN_STT) == NoProvider(
        1110.0,
        (
            ("openai/stt", Refusal.CIRCUIT_OPEN),
            ("google/stt", Refusal.CIRCUIT_OPEN),
            ("selene-local/stt", Refusal.CIRCUIT_FORCED_OPEN),
        ),
    )


def test_nobody_knows_when_to_retry_where_waiting_does_not_help(profile):
    resolved = resolve(profile, ACME)
    assert select(resolved, {}, v1.DOMAIN_LLM, tried=("openai/llm",)).earliest_retry is None
    assert select(resolved, {}, v1.DOMAIN_WECHAT) == NoProvider(None, ())
    assert select(resolved, {}, v1.DOMAIN_UNSPECIFIED) == NoProvider(None, ())


def test_a_forced_closed_circuit_serves(profile):
    circuit, _ = force_close(open_since(0.0), "BY_HAND", 1.0)
    assert chosen(select(resolve(profile, ACME), {"openai/stt": circuit}, v1.DOMAIN_STT)) == "openai/stt"


def test_a_fallback_leaves_the_region_of_the_primary_only_where_that_is_allowed(profile):
    profile.stt.providers[1].region = "eu"
    circuits = {"openai/stt": open_since(0.0)}
    found = select(resolve(profile, ACME), circuits, v1.DOMAIN_STT)
    assert chosen(found) == "selene-local/stt"
    assert found.passed_over[1] == ("google/stt", Refusal.CROSS_REGION_FORBIDDEN)
    profile.tenant_overrides.add(tenant_id="acme", section=v1.LayerSection(allow_cross_region=True))
    assert chosen(select(resolve(profile, ACME), circuits, v1.DOMAIN_STT)) == "google/stt"
    other = v1.RoutingSubject(tenant_id="other")
    assert chosen(select(resolve(profile, other), circuits, v1.DOMAIN_STT)) == "selene-local/stt"


def test_a_call_of_another_region_does_not_go_to_the_primary(profile):
    found = select(resolve(profile, ACME), {}, v1.DOMAIN_STT, region="eu")
    assert chosen(found) == "selene-local/stt"
    assert {refusal for _, refusal in found.passed_over} == {Refusal.CROSS_REGION_FORBIDDEN}


def test_no_permission_to_cross_regions_reaches_a_region_that_is_not_allowed(profile):
    profile.stt.providers[1].region = "cn"
    profile.global_default.allowed_regions.extend(["us", "eu"])
    profile.global_default.allow_cross_region = True
    found = select(resolve(profile, ACME), {"openai/stt": open_since(0.0)}, v1.DOMAIN_STT)
    assert found.passed_over[1] == ("google/stt", Refusal.REGION_NOT_ALLOWED)


@pytest.mark.parametrize(
    ("locale", "expected"),
    [("en-GB", "openai/stt"), ("EN", "openai/stt"), ("", "openai/stt"), ("eng", "google/stt"), ("de-DE", "google/stt")],
)
def test_a_provider_serves_the_locales_that_it_lists(profile, locale, expected):
    profile.stt.providers[0].locales.append("en")
    assert chosen(select(resolve(profile, ACME), {}, v1.DOMAIN_STT, locale=locale)) == expected


def test_a_locale_is_crossed_only_where_that_is_allowed(profile):
    profile.llm.providers[0].locales.append("en-US")
    found = select(resolve(profile, ACME), {}, v1.DOMAIN_LLM, locale="de-DE")
    assert found == NoProvider(None, (("openai/llm", Refusal.CROSS_LOCALE_FORBIDDEN),))
    profile.global_default.allow_cross_locale = True
    assert chosen(select(resolve(profile, ACME), {}, v1.DOMAIN_LLM, locale="de-DE")) == "openai/llm"


def test_a_provider_that_is_off_or_not_for_the_tenant_is_never_the_primary(profile):
    profile.stt.providers[0].enabled = False
    profile.stt.providers[1].allowed_tenants.append("somebody-else")
    found = select(resolve(profile, ACME), {}, v1.DOMAIN_STT)
    assert chosen(found) == "selene-local/stt"
    assert not found.failover
    assert [refusal for _, refusal in found.passed_over] == [Refusal.DISABLED, Refusal.TENANT_NOT_ALLOWED]
