"""What the parts of the voice benchmark compute from what they measure; nothing here is timed."""

from __future__ import annotations

import numpy as np
import pytest

from bench.voiceid import accuracy, gallery
from bench.voiceid.caller import Decided
from servers.voiceid.calibration.metrics import Scored
from servers.voiceid.extract import Recording

RATE_HZ = 16_000


def _tone(seconds: float = 1.0, level: float = 0.3) -> Recording:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return Recording((level * np.sin(2 * np.pi * 440 * times)).astype(np.float32), RATE_HZ)


def _decided(tier: str, reason: str, named: str = "mira") -> Decided:
    return Decided(
        closed_at=0.0,
        latency_ms=1.0,
        server_ms=1.0,
        seconds=3.0,
        speaker="mira",
        named=named,
        tier=tier,
        reason=reason,
        score_bp=9500,
        conf_high_bp=9000,
        overlap_ratio=0.0,
        replay_similarity=0.0,
        stage2_skipped=False,
    )


def test_recall_is_the_share_of_wanted_rows_over_all_queries():
    found = [frozenset({1, 2}), frozenset({3, 9})]
    assert gallery.recall(found, [frozenset({1, 2}), frozenset({3, 4})]) == 0.75


def test_exact_search_orders_equal_rows_by_row():
    profiles = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    assert gallery.exact(profiles[1:2], profiles, 1) == [frozenset({1})]


def test_drawn_people_are_unit_vectors_and_their_utterances_lie_near_them():
    random = np.random.default_rng(0)
    said = [centre + 0.1 * random.standard_normal((4, 8)) for centre in 3 * np.eye(8)[:6]]
    voices = gallery.Voices.of(said)
    people = voices.speakers(50, random)
    utterances = voices.utterances(people, random)
    assert np.allclose(np.linalg.norm(people, axis=1), 1, atol=1e-6)
    own = (people * utterances).sum(axis=1).mean()
    assert own > (people @ utterances.T).mean()


def test_voices_cannot_be_drawn_from_speakers_who_spoke_once():
    with pytest.raises(ValueError, match="two utterances"):
        gallery.Voices.of([np.ones((1, 8)), np.zeros((1, 8))])


def test_rates_of_scores_that_tell_everyone_apart_are_zero():
    genuine = np.array([True, True, False, False])
    people = np.array([0, 1, 0, 1])
    scored = Scored(np.array([9.0, 8.0, -9.0, -8.0]), genuine, people, np.array([0, 1, 1, 0]))
    rates = accuracy.error_rates(scored, is_llr=True, resamples=20)
    assert rates.values["EER"] == 0.0
    assert rates.values["actDCF"] == 0.0
    assert rates.intervals["EER"].upper == 0.0


def test_scores_that_are_no_llrs_have_no_calibration_cost():
    genuine = np.array([True, True, False, False])
    people = np.array([0, 1, 0, 1])
    scored = Scored(np.array([0.9, 0.1, 0.8, 0.2]), genuine, people, np.array([0, 1, 1, 0]))
    rates = accuracy.error_rates(scored, is_llr=False, resamples=20)
    assert rates.cell("Cllr") is None
    assert rates.cell("EER", 100) is not None


@pytest.mark.parametrize("snr_db", [20, 5])
def test_noise_lies_as_far_below_the_sound_as_asked(snr_db):
    clean = _tone()
    noise = accuracy.with_noise(snr_db)(clean).samples - clean.samples
    assert 10 * np.log10(np.mean(clean.samples**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.1)


def test_noise_is_the_same_whenever_it_is_made():
    damage = accuracy.with_noise(10)
    assert np.array_equal(damage(_tone()).samples, damage(_tone()).samples)


def test_overdriven_sound_has_one_sample_in_ten_at_full_scale():
    sound = accuracy.overdriven(_tone()).samples
    assert np.mean(np.abs(sound) >= 1.0) == pytest.approx(0.1, abs=0.02)


def test_narrowband_sound_lasts_as_long_at_8_khz():
    sound = accuracy.narrowband(_tone())
    assert sound.rate_hz == 8000
    assert len(sound.samples) == 8000


@pytest.mark.parametrize("damage", accuracy.CONDITIONS.values(), ids=accuracy.CONDITIONS)
def test_no_damage_leaves_the_range_of_pcm(damage):
    assert np.abs(damage(_tone(level=0.99)).samples).max() <= 1.0


def test_recoded_sound_is_nearly_what_it_was():
    clean = _tone()
    heard = accuracy.recoded(clean).samples
    # Opus begins a few milliseconds late: the best alignment is looked for.
    best = np.correlate(heard[2000:12000], clean.samples[4000:8000], "valid").max()
    assert best / np.sum(clean.samples[4000:8000] ** 2) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("level_db", [0.0, -6.0])
def test_the_second_voice_is_as_loud_as_asked(level_db):
    voice, other = _tone(level=0.2).samples, np.roll(_tone(level=0.05).samples, 9)
    added = accuracy.mixed(voice, other, level_db) - voice
    assert 10 * np.log10(np.mean(added**2) / np.mean(voice**2)) == pytest.approx(level_db, abs=0.1)


def test_probable_counts_only_with_the_right_name():
    assert accuracy.accepted(_decided("PROBABLE", "MATCH_MID"))
    assert not accuracy.accepted(_decided("PROBABLE", "MATCH_MID", named="otto"))
    assert not accuracy.accepted(_decided("UNKNOWN", "SCORE_LOW", named=""))


def test_a_provisional_pack_does_not_hide_who_would_have_been_confirmed():
    assert accuracy.confirmed_uncapped(_decided("PROBABLE", "PACK_PROVISIONAL"))
    assert accuracy.confirmed_uncapped(_decided("CONFIRMED", "MATCH_HIGH"))
    assert not accuracy.confirmed_uncapped(_decided("PROBABLE", "MATCH_MID"))


def test_an_error_rate_that_was_not_measured_meets_no_target():
    assert {target.met for target in accuracy._targets([])} == {None}


def test_without_speech_galleries_are_unit_vectors_all_the_same():
    random = np.random.default_rng(0)
    voices = gallery.Voices.anywhere()
    people = voices.speakers(50, random)
    utterances = voices.utterances(people, random)
    assert people.shape == (50, gallery.DIMENSIONS[0])
    assert np.argmax(people @ utterances.T, axis=0).tolist() == list(range(50))
