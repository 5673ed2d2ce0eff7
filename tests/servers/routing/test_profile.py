"""What is wrong with a profile, and what one comes to for somebody."""

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from selene.routing.v1 import routing_pb2 as v1

from servers.routing.profile import ProblemCode, ProfileProblem, Resolved, explain, subjects, validate
from servers.routing.profile import compile as resolve

ANN = v1.RoutingSubject(tenant_id="acme", locale="en-US", channel="ios", user_id="ann")
LAYERS = ("global_default", "tenant_overrides", "locale_overrides", "channel_overrides", "user_exceptions")
SCOPES = {"locale_overrides": "en-US", "channel_overrides": "ios", "user_exceptions": "ann"}
SAME_PROFILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def timeouts(seconds: int, ref: str = "openai/stt") -> v1.ProviderOverride:
    return v1.ProviderOverride(domain=v1.DOMAIN_STT, provider_ref=ref, timeout=Duration(seconds=seconds))


def add(profile, layer: str, *overrides: v1.ProviderOverride, tenant: str = "acme", scope: str | None = None) -> None:
    if layer == "global_default":
        profile.global_default.providers.extend(overrides)
        return
    row = getattr(profile, layer).add(tenant_id=tenant, section=v1.LayerSection(providers=overrides))
    if layer in SCOPES:
        row.scope_id = SCOPES[layer] if scope is None else scope


def resolved(profile, subject=ANN) -> Resolved:
    found = resolve(profile, subject)
    assert isinstance(found, Resolved)
    return found


def openai(profile, subject=ANN):
    return next(p for p in resolved(profile, subject).providers(v1.DOMAIN_STT) if p.provider_ref == "openai/stt")


def problems(profile) -> set[tuple[str, str]]:
    return {(problem.code, problem.where) for problem in validate(profile)}


def test_the_default_profile_has_no_problem_and_the_order_of_the_table(profile):
    assert validate(profile) == ()
    assert [p.provider_ref for p in resolved(profile).providers(v1.DOMAIN_STT)] == [
        "openai/stt",
        "google/stt",
        "selene-local/stt",
    ]


@pytest.mark.parametrize("highest", range(5))
def test_the_most_specific_layer_supplies_a_field_and_explains_it(profile, highest):
    for number, layer in enumerate(LAYERS[: highest + 1]):
        add(profile, layer, timeouts(10 + number))
    assert openai(profile).timeout_s == 10 + highest
    (why,) = explain(resolved(profile), "providers[openai/stt].timeout")
    assert why.layer == highest + 1
    assert why.scope_id == ["", "acme", "en-US", "ios", "ann"][highest]


def test_an_unset_field_falls_through_field_by_field(profile):
    add(profile, "tenant_overrides", timeouts(11))
    user = v1.ProviderOverride(domain=v1.DOMAIN_STT, provider_ref="openai/stt", enabled=False)
    add(profile, "user_exceptions", user)
    assert (openai(profile).timeout_s, openai(profile).enabled, openai(profile).priority) == (11, False, 1)
    layers = {each.field: each.layer for each in explain(resolved(profile), "providers[openai/stt].")}
    assert layers["providers[openai/stt].timeout"] == v1.PROFILE_LAYER_TENANT_OVERRIDE
    assert layers["providers[openai/stt].enabled"] == v1.PROFILE_LAYER_USER_EXCEPTION
    assert layers["providers[openai/stt].priority"] == v1.PROFILE_LAYER_GLOBAL_DEFAULT


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_a_row_for_someone_else_does_not_apply(profile, layer):
    add(profile, layer, timeouts(99), tenant="other")
    if layer in SCOPES:
        add(profile, layer, timeouts(98), scope="somebody-else")
    assert openai(profile).timeout_s == 5


@pytest.mark.parametrize("layer", LAYERS[2:])
def test_a_subject_without_a_scope_matches_no_scope(profile, layer):
    add(profile, layer, timeouts(99))
    assert openai(profile, v1.RoutingSubject(tenant_id="acme")).timeout_s == 5


@pytest.mark.parametrize("layer", LAYERS[1:])
@pytest.mark.parametrize("same", [True, False])
def test_two_rows_of_equal_precedence_fail_closed_even_where_they_agree(profile, layer, same):
    add(profile, layer, timeouts(10))
    add(profile, layer, timeouts(10 if same else 11))
    assert resolve(profile, ANN) == ProfileProblem(ProblemCode.DUPLICATE_OVERRIDE, layer)
    assert (ProblemCode.DUPLICATE_OVERRIDE, f"{layer}[1]") in problems(profile)
    assert isinstance(resolve(profile, v1.RoutingSubject(tenant_id="other")), Resolved)


def test_locales_are_the_same_in_any_case(profile):
    add(profile, "locale_overrides", timeouts(10))
    add(profile, "locale_overrides", timeouts(11), scope="EN-us")
    assert resolve(profile, ANN) == ProfileProblem(ProblemCode.DUPLICATE_OVERRIDE, "locale_overrides")


def test_regions_and_permissions_come_from_the_most_specific_layer_that_says_something(profile):
    profile.global_default.allowed_regions.extend(["us", "eu"])
    profile.tenant_overrides.add(
        tenant_id="acme", section=v1.LayerSection(allowed_regions=["eu"], allow_cross_region=True)
    )
    profile.user_exceptions.add(
        tenant_id="acme", scope_id="ann", section=v1.LayerSection(allow_cross_region=False, allow_cross_locale=True)
    )
    ann = resolved(profile)
    assert (ann.allowed_regions, ann.allow_cross_region, ann.allow_cross_locale) == (("eu",), False, True)
    bob = resolved(profile, v1.RoutingSubject(tenant_id="acme", user_id="bob"))
    assert (bob.allowed_regions, bob.allow_cross_region, bob.allow_cross_locale) == (("eu",), True, False)
    assert [(why.layer, why.scope_id) for why in explain(ann, "allow")] == [
        (v1.PROFILE_LAYER_USER_EXCEPTION, "ann"),
        (v1.PROFILE_LAYER_USER_EXCEPTION, "ann"),
        (v1.PROFILE_LAYER_GLOBAL_DEFAULT, ""),
        (v1.PROFILE_LAYER_TENANT_OVERRIDE, "acme"),
    ]


def test_a_permission_that_no_layer_gives_is_not_given(profile):
    profile.global_default.ClearField("allow_cross_region")
    profile.global_default.ClearField("allow_cross_locale")
    found = resolved(profile)
    assert (found.allow_cross_region, found.allow_cross_locale) == (False, False)
    assert not found.allow_inconclusive_fallback


def test_a_tenant_may_let_its_messages_go_to_another_provider_where_nobody_can_tell_and_is_told_apart_by_it(profile):
    before = resolved(profile)
    profile.tenant_overrides.add(tenant_id="acme", section=v1.LayerSection(allow_inconclusive_fallback=True))
    ann = resolved(profile)
    assert ann.allow_inconclusive_fallback and ann.profile_hash != before.profile_hash
    assert not resolved(profile, v1.RoutingSubject(tenant_id="other")).allow_inconclusive_fallback
    (why,) = explain(ann, "allow_inconclusive_fallback")
    assert (why.layer, why.scope_id) == (v1.PROFILE_LAYER_TENANT_OVERRIDE, "acme")


@SAME_PROFILE
@given(st.data())
def test_the_order_of_rows_does_not_matter(profile, data):
    built = v1.ProviderRoutingProfileV1()
    built.CopyFrom(profile)
    for number, layer in enumerate(LAYERS):
        for tenant in ("acme", "other"):
            if layer != "global_default" or tenant == "acme":
                add(built, layer, timeouts(10 + number), timeouts(20 + number, "google/stt"), tenant=tenant)
    built.tenant_overrides[0].section.allowed_regions.extend(["eu", "us"])
    shuffled = v1.ProviderRoutingProfileV1()
    shuffled.CopyFrom(built)
    lists = [shuffled.stt.providers, shuffled.global_default.providers, shuffled.tenant_overrides]
    lists += [getattr(shuffled, layer) for layer in LAYERS[1:]]
    lists.append(next(row for row in shuffled.tenant_overrides if row.tenant_id == "acme").section.allowed_regions)
    for rows in lists:
        permuted = data.draw(st.permutations(list(rows)))
        del rows[:]
        rows.extend(permuted)
    assert resolve(shuffled, ANN) == resolve(built, ANN)


def test_subjects_for_whom_the_same_holds_share_a_hash_and_others_do_not(profile):
    add(profile, "user_exceptions", timeouts(10))
    bob = v1.RoutingSubject(tenant_id="acme", user_id="bob")
    eve = v1.RoutingSubject(tenant_id="other", user_id="eve")
    assert resolved(profile, bob).profile_hash == resolved(profile, eve).profile_hash
    assert resolved(profile, ANN).profile_hash != resolved(profile, bob).profile_hash
    assert len(resolved(profile).profile_hash) == 32


def test_a_tenant_that_a_provider_is_not_for_is_told_so(profile):
    profile.stt.providers[0].allowed_tenants.extend(["other"])
    assert not openai(profile).tenant_allowed
    assert openai(profile, v1.RoutingSubject(tenant_id="other")).tenant_allowed


REQUIRED = [
    "schema_version",
    "profile_id",
    "profile_version",
    "effective_from",
    "precedence_order",
    "selection_owner_engine",
    "stt",
    "tts",
    "llm",
    "delivery",
    "global_default",
    "artifact_id",
    "rollback_pointer_ref",
    "judge_threshold_set_id",
]


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named(profile, field):
    profile.ClearField(field)
    assert (ProblemCode.CONTRACT_VIOLATED, field) in problems(profile)


@pytest.mark.parametrize("field", ["provider_ref", "priority", "timeout", "circuit", "region"])
def test_a_missing_field_of_a_provider_is_named(profile, field):
    profile.stt.providers[1].ClearField(field)
    assert (ProblemCode.CONTRACT_VIOLATED, f"stt.providers[1].{field}") in problems(profile)


@pytest.mark.parametrize("field", ["cooldown", "max_cooldown", "window"])
def test_a_missing_duration_of_a_circuit_is_named(profile, field):
    profile.tts.providers[0].circuit.ClearField(field)
    assert (ProblemCode.CONTRACT_VIOLATED, f"tts.providers[0].circuit.{field}") in problems(profile)


def test_a_precedence_of_another_order_is_refused(profile):
    profile.precedence_order[:] = [1, 2, 3, 4, 5]
    assert (ProblemCode.CONTRACT_VIOLATED, "routing_profile.precedence") in problems(profile)


def test_a_provider_stands_in_a_profile_once(profile):
    profile.delivery.wechat.providers.add().CopyFrom(profile.stt.providers[0])
    assert problems(profile) == {(ProblemCode.DUPLICATE_PROVIDER, "delivery.wechat.providers[0]")}
    assert resolve(profile, ANN) == ProfileProblem(ProblemCode.DUPLICATE_PROVIDER, "delivery.wechat.providers[0]")


@pytest.mark.parametrize("layer", LAYERS)
def test_an_override_of_a_provider_that_is_not_there_fails_closed(profile, layer):
    add(profile, layer, timeouts(9, "nobody/stt"))
    where = (layer if layer == "global_default" else f"{layer}[0].section") + ".providers[0]"
    assert problems(profile) == {(ProblemCode.UNKNOWN_PROVIDER, where)}
    assert resolve(profile, ANN) == ProfileProblem(ProblemCode.UNKNOWN_PROVIDER, where)


def test_two_overrides_of_a_provider_in_one_section_fail_closed(profile):
    add(profile, "tenant_overrides", timeouts(9), timeouts(9))
    where = "tenant_overrides[0].section.providers[1]"
    assert problems(profile) == {(ProblemCode.DUPLICATE_PROVIDER_OVERRIDE, where)}
    assert resolve(profile, ANN) == ProfileProblem(ProblemCode.DUPLICATE_PROVIDER_OVERRIDE, where)


def test_every_domain_has_the_owner_of_the_source(profile):
    profile.selection_owner_engine[0].engine = "PH1.D"
    assert problems(profile) == {(ProblemCode.WRONG_SELECTION_OWNER, "selection_owner_engine[0]")}
    profile.selection_owner_engine[0].CopyFrom(profile.selection_owner_engine[1])
    assert problems(profile) == {(ProblemCode.WRONG_SELECTION_OWNER, "selection_owner_engine")}


@pytest.mark.parametrize(
    ("version", "pointer", "code"),
    [
        (1, "none", None),
        (2, "PROVIDER_ROUTING_PROFILE_V1@1", None),
        (2, "PROVIDER_ROUTING_PROFILE_V1@2", ProblemCode.ROLLBACK_TO_ITSELF),
        (2, "PROVIDER_ROUTING_PROFILE_V1@3", ProblemCode.ROLLBACK_POINTER_INVALID),
        (2, "none", ProblemCode.ROLLBACK_POINTER_INVALID),
        (2, "OTHER@1", ProblemCode.ROLLBACK_POINTER_INVALID),
        (1, "PROVIDER_ROUTING_PROFILE_V1@1", ProblemCode.ROLLBACK_TO_ITSELF),
    ],
)
def test_a_rollback_pointer_leads_to_an_earlier_version(profile, version, pointer, code):
    profile.profile_version = version
    profile.artifact_id = f"PROVIDER_ROUTING_PROFILE_V1@{version}"
    profile.rollback_pointer_ref = pointer
    assert problems(profile) == ({(code, "rollback_pointer_ref")} if code else set())


def test_an_artifact_id_is_that_of_the_version(profile):
    profile.artifact_id = "PROVIDER_ROUTING_PROFILE_V1@7"
    assert (ProblemCode.WRONG_ARTIFACT_ID, "artifact_id") in problems(profile)


def test_a_return_rule_that_overlaps_its_open_rule_would_flap(profile):
    profile.stt.providers[0].circuit.return_when[0].limit = 501
    where = "stt.providers[0].circuit.return_when[0]"
    assert problems(profile) == {(ProblemCode.RETURN_OVERLAPS_OPEN, where)}
    profile.stt.providers[0].circuit.return_when[0].limit = 500
    assert problems(profile) == set()


def test_a_return_rule_that_wants_more_calls_than_probes_would_never_return(profile):
    profile.stt.providers[0].circuit.return_when[1].min_samples = 3
    where = "stt.providers[0].circuit.return_when[1]"
    assert problems(profile) == {(ProblemCode.RETURN_UNREACHABLE, where)}


def test_a_max_cooldown_below_the_cooldown_is_refused_in_an_override_too(profile):
    override = timeouts(9)
    override.circuit.CopyFrom(profile.stt.providers[0].circuit)
    override.circuit.max_cooldown.seconds = 60
    add(profile, "user_exceptions", override)
    where = "user_exceptions[0].section.providers[0].circuit"
    assert (ProblemCode.CONTRACT_VIOLATED, where) in problems(profile)


# Built from pieces, so that no scanner takes this file for a leak.
KEYS = [
    "sk-" + "proj-abcdefghijklmnop",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "-----BEGIN " + "PRIVATE KEY-----",
    "https://user:" + "hunter2@example.org",
    "password=" + "hunter2",
    "0123456789abcdef" * 2,
    "q8Zt3LmX0vKcR7yWnB5sJdF2hGpUeA9i",
]


@pytest.mark.parametrize("secret", KEYS)
def test_whatever_looks_like_a_secret_is_refused_wherever_it_stands_and_never_told(profile, secret):
    profile.judge_threshold_set_id = secret
    profile.stt.providers[0].allowed_tenants.append(secret)
    profile.user_exceptions.add(tenant_id="acme", scope_id=secret, section=v1.LayerSection())
    assert problems(profile) == {
        (ProblemCode.LOOKS_LIKE_SECRET, "judge_threshold_set_id"),
        (ProblemCode.LOOKS_LIKE_SECRET, "stt.providers[0].allowed_tenants[0]"),
        (ProblemCode.LOOKS_LIKE_SECRET, "user_exceptions[0].scope_id"),
    }
    assert secret not in repr(validate(profile))


def test_a_key_in_a_handle_is_a_secret_and_a_handle_is_none(profile):
    profile.stt.providers[0].kms_handle_ref = "kms://providers/openai/" + "sk-" + "abcdefghijklmnop"
    assert problems(profile) == {(ProblemCode.LOOKS_LIKE_SECRET, "stt.providers[0].kms_handle_ref")}
    profile.stt.providers[0].kms_handle_ref = "kms://providers/openai/0123456789abcdef0123456789abcdef"
    assert problems(profile) == set()


@pytest.mark.parametrize(
    "name",
    ["judge-thresholds-2026", "8c0e4b1a-2f7d-4d3c-9a55-0c1d2e3f4a5b", "01JD8ZQ4T6N2R9V3XK7WY5B1MC", "tenant/eu-west-1"],
)
def test_ids_do_not_look_like_secrets(profile, name):
    profile.judge_threshold_set_id = name
    assert problems(profile) == set()


def test_a_field_that_the_contract_does_not_have_is_refused(profile):
    profile.stt.providers[0].MergeFromString(bytes([0xC2, 0x3E, 1, 65]))
    assert problems(profile) == {(ProblemCode.UNKNOWN_FIELD, "stt.providers[0]")}


NAMES = st.sampled_from(["acme", "globex"])
SCOPE_IDS = st.sampled_from(["en-US", "de-DE", "ios", "ann"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(LAYERS[1:]), NAMES, SCOPE_IDS), max_size=5, unique=True),
    allowed=st.lists(NAMES, max_size=1),
    asked=st.lists(
        st.tuples(
            *(st.sampled_from(["", "other", *names]) for names in (["acme", "globex"], ["en-us", "de-DE"])),
            st.sampled_from(["", "ios"]),
            st.sampled_from(["", "ann"]),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_everybody_resolves_as_one_of_the_subjects_of_a_profile(profile, rows, allowed, asked):
    profile = v1.ProviderRoutingProfileV1.FromString(profile.SerializeToString())
    profile.stt.providers[0].allowed_tenants.extend(allowed)
    for seconds, (layer, tenant, scope) in enumerate(rows, start=1):
        add(profile, layer, timeouts(seconds), tenant=tenant, scope=scope)
    everybody = subjects(profile, 1000)
    assert everybody is not None

    def came_to(subject):
        found = resolve(profile, subject)
        return found.profile_hash if isinstance(found, Resolved) else found.code

    known = {came_to(subject) for subject in everybody}
    for tenant, locale, channel, user in asked:
        assert came_to(v1.RoutingSubject(tenant_id=tenant, locale=locale, channel=channel, user_id=user)) in known


def test_subjects_are_not_gone_through_where_they_are_too_many(profile):
    for layer, scopes in (("locale_overrides", 4), ("user_exceptions", 9)):
        for number in range(scopes):
            add(profile, layer, timeouts(number + 1), scope=f"s{number}")
    assert len(subjects(profile, 51) or ()) == 51
    assert subjects(profile, 50) is None
