"""Two tenants on one server: neither can read, match against, resume or confirm what is the other's (ALL-3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from clients.errors import SeleneError
from clients.voiceid import VoiceId
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE
from tests.support.identity import Issuer
from tests.support.servers import DEVICE, House, ask, enrol, serving, stream_config
from tests.support.speech import Person

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVERY_ROLE = (ROLE_SERVICE, ROLE_OPERATOR, "auditor")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def tokens(issuer: Issuer) -> dict[str, str]:
    """A token of each tenant that may do anything there."""
    return {tenant: issuer.token("robot", tenant=tenant, roles=EVERY_ROLE) for tenant in ("ours", "theirs")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    models_dir: Path,
    issuer: Issuer,
    tokens: dict[str, str],
    mira: Person,
    otto: Person,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[House]:
    """Mira is enrolled with us, otto with them."""
    flags = {
        "auth.keys_file": issuer.keys_file,
        "development.anonymous": False,
        "owners.voiceid.replay_min_s": 600.0,
    }
    async with serving(tmp_path_factory.mktemp("isolation"), flags) as served:
        await enrol(client(served, tokens, "ours"), mira)
        await enrol(client(served, tokens, "theirs"), otto)
        yield served


def client(house: House, tokens: dict[str, str], tenant: str) -> VoiceId:
    return house.client(tokens[tenant], tenant=tenant)


async def test_a_voice_is_matched_within_its_tenant_only(
    house: House, tokens: dict[str, str], mira: Person, otto: Person
) -> None:
    for person, own, other in ((mira, "ours", "theirs"), (otto, "theirs", "ours")):
        at_home = (await ask(house, person.ask, token=tokens[own], tenant_id=own)).v2
        assert at_home.candidate_set[0].user_id == person.name
        away = (await ask(house, person.ask, token=tokens[other], tenant_id=other)).v2
        assert away.identity_tier == v2.IDENTITY_TIER_UNKNOWN
        assert not away.candidate_set
        claimed = (await ask(house, person.ask, token=tokens[other], tenant_id=other, claim=person.name)).v2
        assert claimed.reason_code == v1.VOICE_ID_REASON_NOT_ENROLLED


async def test_reads_see_the_own_tenant_only(house: House, tokens: dict[str, str]) -> None:
    ours, theirs = client(house, tokens, "ours"), client(house, tokens, "theirs")
    assert [profile.user_id async for profile in ours.list_profiles()] == ["mira"]
    assert [profile.user_id async for profile in theirs.list_profiles()] == ["otto"]
    assert (await theirs.gallery()).profile_count == 1
    assert (await theirs.gallery(device_id=DEVICE)).member_user_ids == ["otto"]
    with pytest.raises(SeleneError) as caught:
        await theirs.get_profile("mira")
    assert caught.value.reason == "RESOURCE_NOT_FOUND"
    with pytest.raises(SeleneError) as caught:
        await house.client(tokens["theirs"], tenant="ours").get_profile("mira")
    assert caught.value.reason == "TENANT_MISMATCH"


async def test_ids_of_another_tenant_are_not_found(house: House, tokens: dict[str, str], mira: Person) -> None:
    ours, theirs = client(house, tokens, "ours"), client(house, tokens, "theirs")
    enrollment = await ours.create_enrollment("eve", consent_ref="c")
    async with ours.identify() as stream:
        outcome = await stream.finish()
    attempts = (
        theirs.get_enrollment(enrollment.enrollment_id),
        theirs.add_clip(enrollment.enrollment_id, mira.clips[0]),
        theirs.complete_enrollment(enrollment.enrollment_id),
        theirs.confirm(outcome.stream_id, "mira"),
        theirs.revoke_profile("mira"),
    )
    for attempt in attempts:
        with pytest.raises(SeleneError) as caught:
            await attempt
        assert caught.value.reason == "RESOURCE_NOT_FOUND"
    assert (await ours.get_profile("mira")).user_id == "mira"


async def test_a_stream_of_another_tenant_is_not_resumed(house: House, tokens: dict[str, str], mira: Person) -> None:
    line = house.line(tokens["ours"])
    config = stream_config(tenant_id="ours")
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    await line.frames(mira.ask.frames())
    await line.finish()
    config.tenant_id = "theirs"
    thief = house.line(tokens["theirs"])
    await thief.config(config)
    assert (await thief.refusal()).reason == "SESSION_NOT_RESUMABLE"


async def test_the_trail_of_another_tenant_is_not_shown(house: House, tokens: dict[str, str]) -> None:
    own = house.auditor(tokens["theirs"], tenant="theirs")
    assert {event.event.tenant_id async for event in own.list_events() if event.event} == {"theirs"}
    with pytest.raises(SeleneError) as caught:
        async for _ in house.auditor(tokens["theirs"], tenant="ours").list_events():
            raise AssertionError("shown")
    assert caught.value.reason == "TENANT_MISMATCH"


async def test_revoking_with_us_takes_nobody_of_theirs(house: House, tokens: dict[str, str], otto: Person) -> None:
    ours = client(house, tokens, "ours")
    await enrol(ours, otto)
    await ours.revoke_profile("otto")
    decision = (await ask(house, otto.ask, token=tokens["theirs"], tenant_id="theirs", session_id="still")).v2
    assert decision.candidate_set[0].user_id == "otto"


async def test_an_idempotency_key_says_nothing_across_tenants(house: House, tokens: dict[str, str]) -> None:
    made = [
        await client(house, tokens, tenant).create_enrollment("eve", consent_ref=tenant, idempotency_key="same")
        for tenant in tokens
    ]
    assert made[0].enrollment_id != made[1].enrollment_id
    assert [one.consent_ref for one in made] == list(tokens)
