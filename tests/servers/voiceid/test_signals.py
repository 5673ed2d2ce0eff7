"""What identity decisions say to learning: conflicts, poor audio and corrections, of people who consent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from selene.common.v1.scope_pb2 import TurnRef
from selene.learning.v1 import signal_pb2 as nouns
from selene.voiceid.v1 import voiceid_pb2 as v1

from clients.voiceid import VoiceId
from servers.runtime.signals import Producer
from servers.voiceid import signals
from servers.voiceid.conflict import TABLE
from store.voiceid import DecidedStream, Profile
from tests.support.servers import TENANT, House, ask, serving
from tests.support.speech import Person
from tests.support.stores import audit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROFILE = Profile(TENANT, "mira", 1, "LOCKED", "", 3, 9_000, "consent-1", NOW, NOW + timedelta(days=1))
STREAM = DecidedStream(
    tenant_id=TENANT,
    stream_id="0190-1",
    session_id="s-1",
    device_id="kitchen",
    kind="IDENTIFY",
    claimed_user_id="",
    named_user_id="",
    cohort={},
    decision=b"",
    cooldown_key=b"",
    latency_us=1,
    decided_at=NOW,
    speaker_user_id=None,
)


def test_every_conflict_says_something_whatever_its_reason() -> None:
    classes = {
        row.state: said.signal_class
        for row in TABLE
        if (said := signals.row_of(row.state, v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED)) is not None
    }
    assert classes == {
        v1.CONFLICT_STATE_SPOOF_RISK: nouns.SIGNAL_CLASS_SPOOF_RISK,
        v1.CONFLICT_STATE_MULTI_SPEAKER_OVERLAP: nouns.SIGNAL_CLASS_MULTI_SPEAKER,
        v1.CONFLICT_STATE_DEVICE_OWNER_MISMATCH: nouns.SIGNAL_CLASS_REAUTH_FRICTION,
        v1.CONFLICT_STATE_PROFILE_MISMATCH: nouns.SIGNAL_CLASS_REAUTH_FRICTION,
    }


@pytest.mark.parametrize("reason", [one for one in v1.VoiceIdReason.values() if one], ids=v1.VoiceIdReason.Name)
def test_of_decisions_without_a_conflict_poor_audio_alone_says_something(reason: v1.VoiceIdReason) -> None:
    said = signals.row_of(v1.CONFLICT_STATE_UNSPECIFIED, reason)
    poor = reason == v1.VOICE_ID_REASON_QUALITY_LOW
    assert (said is not None and said.signal_class == nouns.SIGNAL_CLASS_LOW_QUALITY_CAPTURE) is poor


@pytest.mark.parametrize(
    ("profile", "consents"),
    [
        (PROFILE, True),
        (replace(PROFILE, expires_at=None), True),
        (replace(PROFILE, expires_at=NOW + timedelta(microseconds=1)), True),
        (replace(PROFILE, expires_at=NOW), False),
        (replace(PROFILE, state="REVOKED"), False),
        (replace(PROFILE, state="SUPERSEDED"), False),
        (replace(PROFILE, consent_ref=""), False),
        (None, False),
    ],
)
def test_consent_is_that_of_an_enrolment_that_holds(profile: Profile | None, consents: bool) -> None:
    assert signals.consents(profile, NOW) is consents


@pytest.mark.parametrize(
    ("named", "speaker", "about", "signal_class"),
    [
        ("mira", "mira", "", None),
        ("", "", "", None),
        ("", "mira", "mira", nouns.SIGNAL_CLASS_FALSE_REJECT),
        ("mira", "otto", "mira", nouns.SIGNAL_CLASS_FALSE_ACCEPT),
        ("mira", "", "mira", nouns.SIGNAL_CLASS_FALSE_ACCEPT),
    ],
)
def test_a_correction_is_of_who_was_named_wrongly_or_not_known(
    named: str, speaker: str, about: str, signal_class: nouns.SignalClass | None
) -> None:
    stream = replace(STREAM, named_user_id=named)
    assert signals.about(stream, speaker) == about
    if signal_class is not None:
        seen = signals.corrected(stream, TurnRef(), NOW, about)
        assert (seen.signal_class, seen.user_id) == (signal_class, about)
        assert seen.source == nouns.CAPTURE_SOURCE_USER_CORRECTION


@pytest.mark.parametrize(
    ("named", "speaker", "before", "before_speaker", "switched"),
    [
        ("mira", "otto", "mira", "mira", True),
        ("mira", "otto", "mira", None, True),
        ("mira", "", "mira", None, True),
        ("mira", "mira", "mira", "mira", False),
        ("mira", "otto", "mira", "otto", False),
        ("mira", "otto", "otto", None, False),
        ("mira", "otto", "", None, False),
        ("", "otto", "", None, False),
    ],
)
def test_a_speaker_switch_is_a_decision_that_stayed_with_who_spoke_before(
    named: str, speaker: str, before: str, before_speaker: str | None, switched: bool
) -> None:
    stream = replace(STREAM, named_user_id=named)
    earlier = replace(STREAM, stream_id="0190-0", named_user_id=before, speaker_user_id=before_speaker)
    assert signals.switched(stream, speaker, earlier) is switched
    assert not signals.switched(stream, speaker, None)
    seen = signals.not_followed(stream, TurnRef(), NOW, "mira")
    assert (seen.signal_class, seen.reason_code) == (nouns.SIGNAL_CLASS_SPEAKER_SWITCH, "SPEAKER_SWITCHED")


def test_a_stream_that_is_decided_again_says_the_same() -> None:
    row = signals.CONFLICTS[v1.CONFLICT_STATE_SPOOF_RISK]
    producer = Producer("PH1.VOICE.ID", frozenset())
    keys = {
        producer.signal(signals.decided(row, stream, reason, TurnRef(), "mira")).idempotency_key
        for stream in (STREAM, replace(STREAM, decided_at=NOW + timedelta(hours=1)))
        for reason in (v1.VOICE_ID_REASON_SPOOF_RISK, v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED)
    }
    assert keys == {"PH1.VOICE.ID:SPOOF_RISK:0190-1"}


async def left(house: House) -> list[nouns.LearningSignal]:
    async with house.store.transaction() as tx:
        audit(tx, TENANT)
        return [one.signal for one in await tx.learning.outbox.take(100)]


@pytest.mark.parametrize("consents", [True, False])
async def test_a_conflict_and_corrections_wait_for_learning_where_the_tenant_consents(
    home: Path, otto: Person, mira: Person, consents: bool
) -> None:
    flags = {"owners.signals.tenants": [TENANT] if consents else [], "owners.voiceid.replay_min_s": 600.0}
    async with serving(home, flags) as house:
        conflict = (await ask(house, otto.ask, device_owner_user_id="mira", session_id="owned")).v2
        assert conflict.conflict_state == v1.CONFLICT_STATE_DEVICE_OWNER_MISMATCH
        client = house.client()
        named, missed = await heard(client, mira), await heard(client, None)
        await client.confirm(named, "otto", idempotency_key="k-1")
        await client.confirm(named, "otto", idempotency_key="k-1")
        await client.confirm(missed, "otto")
        found = await left(house)
    assert [(one.signal_class, one.user_id, one.reason_code, one.input_ref) for one in found[1:]] == (
        [
            (nouns.SIGNAL_CLASS_FALSE_ACCEPT, "mira", "DECISION_WRONG", f"stream:{named}"),
            (nouns.SIGNAL_CLASS_FALSE_REJECT, "otto", "DECISION_WRONG", f"stream:{missed}"),
        ]
        if consents
        else []
    )
    first = [(one.signal_class, one.user_id, one.reason_code, one.session_id) for one in found[:1]]
    friction = (nouns.SIGNAL_CLASS_REAUTH_FRICTION, "mira", "DEVICE_OWNER_MISMATCH", "owned")
    assert first == ([friction] if consents else [])


async def test_a_decision_that_did_not_follow_the_speaker_says_so(home: Path, mira: Person) -> None:
    flags = {"owners.signals.tenants": [TENANT], "owners.voiceid.replay_min_s": 600.0}
    async with serving(home, flags) as house:
        client = house.client()
        first, second = [await heard(client, mira, session_id="one") for _ in range(2)]
        await client.confirm(first, "mira")
        await client.confirm(second, "otto")
        found = await left(house)
    assert [(one.signal_class, one.input_ref) for one in found] == [
        (nouns.SIGNAL_CLASS_FALSE_ACCEPT, f"stream:{second}"),
        (nouns.SIGNAL_CLASS_SPEAKER_SWITCH, f"stream:{second}"),
    ]


async def heard(client: VoiceId, person: Person | None, **config: Any) -> str:
    """The id of a stream that was decided; of silence without a person."""
    async with client.identify(client.config(**config)) as stream:
        for frame in person.ask.frames() if person else ():
            await stream.send(frame)
        return (await stream.finish()).stream_id
