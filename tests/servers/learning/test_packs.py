from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from selene.artifacts.v1 import packs_pb2 as packs
from selene.gold.v1.evidence_pb2 import LabelledItem, OutputLabel, RoutedTurn, RouteLabel, RouteOutcome, TrialLabel

from servers import pack_formats
from servers.consumers import CONSUMERS
from servers.learning.domains import DOMAINS
from servers.learning.packs import BUILDERS, BuildFailed, Source, build, empty, orphans
from servers.learning.packs.thresholds import high_bp, posterior_bp
from servers.pack_formats import FORMATS, THRESHOLD_PACK, PackFault, PackUnusable, writer_of
from servers.voiceid.calibration import pack as voiceid_pack
from servers.voiceid.fusion import posterior
from tests.servers.learning.items import (
    accepted,
    context,
    edit,
    edits,
    item,
    label,
    labelled,
    meant,
    milliseconds,
    output,
    pronunciation,
    ranking,
    relevant,
    trial,
    turn,
    utterance,
)

SHIPPED = Path(voiceid_pack.__file__).parents[1] / "packs" / "librispeech-read-english.json"
ROWS_OF_11 = (
    "STT_ADAPTATION_PROFILE",
    "STT_ROUTING_POLICY_PACK",
    "STT_VOCAB_PACK",
    "TTS_PRONUNCIATION_PACK",
    "TTS_ROUTING_POLICY_PACK",
    "PERSONA_TONE_PROFILE_DELTA",
    "CONTEXT_RANKING_PACK",
    "NLP_GOLD_LABEL_PACK",
    "LLM_GOLD_LABEL_PACK",
)
NOBODYS = {"PERSONA_TONE_PROFILE_DELTA", "CONTEXT_RANKING_PACK", "NLP_GOLD_LABEL_PACK"}
"""Of engines that are no servers here: PH1.X, PH1.CONTEXT, PH1.NLP."""


def source(items: Iterable[LabelledItem], **fields: Any) -> Source:
    return Source(gold_set_ref="GOLD_SET_TEST_V1@3", gold_set_hash=bytes(32), items=list(items), **fields)


def built(pack_type: str, *items: LabelledItem) -> Any:
    return pack_formats.parse(pack_type, build(pack_type, source(items)))


def both(verdict: Any) -> list[Any]:
    return [verdict, verdict]


def shown(entries: Iterable[Message], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(entry, name) for name in names) for entry in entries]


@pytest.mark.parametrize("pack_type", ROWS_OF_11)
def test_every_row_of_the_consumption_matrix_has_a_builder_a_parser_and_a_pack_to_return_to(pack_type: str) -> None:
    assert pack_type in BUILDERS
    assert FORMATS[pack_type].engine_id.startswith("PH1.")
    nothing = pack_formats.parse(pack_type, empty(pack_type))
    assert nothing.header.pack_type == pack_type and nothing.header.gold_set_ref == ""


def test_every_pack_of_a_domain_is_built_or_reported_as_an_orphan() -> None:
    every = {pack_type for domain in DOMAINS for pack_type in domain.pack_types}
    assert set(orphans(sorted(every))) == {
        "WAKE_THRESHOLD_PACK",
        "VOICEID_SPOOF_POLICY_PACK_V1",
        "VOICEID_PROFILE_ADAPTATION_PACK_V1",
        *NOBODYS,
    }
    assert every & FORMATS.keys() == {*ROWS_OF_11, THRESHOLD_PACK}
    for pack_type in every - FORMATS.keys():
        with pytest.raises(BuildFailed):
            build(pack_type, source([]))


def test_what_is_built_for_an_engine_that_is_no_server_here_is_reported_as_an_orphan() -> None:
    assert {pack_type for pack_type in ROWS_OF_11 if orphans([pack_type])} == NOBODYS
    assert NOBODYS.isdisjoint(CONSUMERS) and CONSUMERS.keys() | NOBODYS == FORMATS.keys()
    for pack_type, consumption in CONSUMERS.items():
        assert consumption.engine_id == FORMATS[pack_type].engine_id


def test_vocabulary_and_pronunciations_have_the_writer_of_section_18() -> None:
    know = {pack_type for pack_type in (*ROWS_OF_11, THRESHOLD_PACK) if writer_of(pack_type) == "PH1.KNOW"}
    assert know == {"STT_VOCAB_PACK", "TTS_PRONUNCIATION_PACK"}
    assert writer_of("STT_ADAPTATION_PROFILE") == "PH1.LEARN"


def test_corrections_become_substitutions_and_entities_terms() -> None:
    name, word = edit(0, 2, "Selene", entity=True), edit(3, 4, "moon", "light")
    items = [
        labelled(utterance(), both(edits(name, word)), "i1"),
        labelled(utterance(), both(edits(name)), "i2"),
        labelled(utterance(), [edits(name), edits(word)], "disputed"),
        labelled(utterance(), both(edits(edit(1, 1, "uh"))), "inserted"),
    ]
    profile = built("STT_ADAPTATION_PROFILE", *items)
    assert shown(profile.substitutions, "locale", "heard", "meant", "utterances") == [
        ("en-GB", "w0 w1", "Selene", 2),
        ("en-GB", "w3", "moon light", 1),
    ]
    terms = built("STT_VOCAB_PACK", *items).terms
    assert shown(terms, "locale", "term", "utterances") == [("en-GB", "Selene", 2)]


def test_a_pronunciation_that_not_everybody_accepts_is_not_learned() -> None:
    good, bad = labelled(pronunciation(), both(accepted())), labelled(pronunciation(), [accepted(), accepted(False)])
    bad.item.pronunciation.term = "Luna"
    entries = built("TTS_PRONUNCIATION_PACK", good, bad).entries
    assert shown(entries, "locale", "term", "phonemes") == [("en-GB", "Selene", "si li ni")]
    assert build("TTS_PRONUNCIATION_PACK", source([bad])) == b""


def route(use: str, quality_bp: int) -> RoutedTurn:
    def outcome(name: str, quality: int) -> RouteOutcome:
        return RouteOutcome(provider_ref=f"{name}/{use}", quality_bp=quality, latency=milliseconds(1))

    return RoutedTurn(candidate=outcome("new", quality_bp), baseline=outcome("old", 5000))


def test_routes_are_learned_by_the_use_that_they_serve() -> None:
    better = RouteLabel(candidate_better=True)
    items = [
        labelled(route("stt", 6000), [], "measured-better"),
        labelled(route("stt", 4000), [], "measured-worse"),
        labelled(route("stt", 4000), [better] * 3, "judged-better"),
        labelled(route("tts", 9000), [], "speech"),
    ]
    [heard] = built("STT_ROUTING_POLICY_PACK", *items).preferences
    assert (heard.provider_ref, heard.over_provider_ref, heard.turns) == ("new/stt", "old/stt", 3)
    assert (heard.preferred_bp, heard.quality_delta_bp) == (6666, -333)
    [spoken] = built("TTS_ROUTING_POLICY_PACK", *items).preferences
    assert (spoken.provider_ref, spoken.turns, spoken.quality_delta_bp) == ("new/tts", 1, 4000)


def test_a_text_that_means_two_things_teaches_nothing() -> None:
    one, two, other = (labelled(turn("at"), both(meant(at="7")), name) for name in ("one", "two", "other"))
    two.labels[0].turn.intent = two.labels[1].turn.intent = "alarm.cancel"
    other.item.turn.text = "wake me"
    texts = built("NLP_GOLD_LABEL_PACK", one, two, other).texts
    assert shown(texts, "text", "intent") == [("wake me", "alarm.set")]
    assert shown(texts[0].slots, "name", "value") == [("at", "7")]


def test_packets_that_conflict_with_the_policy_teach_nothing() -> None:
    good = labelled(output(), both(OutputLabel()), "good")
    bad = labelled(output(), both(OutputLabel(policy_conflict=True)), "bad")
    assert shown(built("LLM_GOLD_LABEL_PACK", bad, good).packets, "item_id") == [("good",)]


def test_relevant_contexts_keep_the_order_of_the_ranking() -> None:
    ranked = ranking(*(context(ref) for ref in "abcd"))
    [query] = built("CONTEXT_RANKING_PACK", labelled(ranked, [relevant("d", "a"), relevant("a", "d", "b")])).queries
    assert (query.query_ref, list(query.relevant_refs)) == ("q", ["a", "d"])


@given(st.permutations([labelled(utterance(), both(edits(edit(n, n + 1, f"x{n}"))), f"i{n}") for n in range(6)]))
def test_a_pack_does_not_depend_on_the_order_of_its_items(items: list[LabelledItem]) -> None:
    assert build("STT_ADAPTATION_PROFILE", source(items)) == build(
        "STT_ADAPTATION_PROFILE", source(sorted(items, key=lambda one: one.item.item_id))
    )


def a_pack() -> packs.SttVocabPack:
    header = packs.PackHeader(pack_type="STT_VOCAB_PACK", format=1, gold_set_hash=bytes(32))
    return packs.SttVocabPack(header=header, terms=[packs.VocabTerm(locale="en", term="Selene", utterances=1)])


def canonical(pack: Message) -> bytes:
    return pack.SerializeToString(deterministic=True)


def changed(**fields: Any) -> bytes:
    pack = a_pack()
    for name, value in fields.items():
        setattr(pack.header, name, value)
    return canonical(pack)


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"\xff\xff\xff", PackFault.UNREADABLE),
        (b"", PackFault.FIELD_INVALID),
        (changed(format=2), PackFault.FIELD_INVALID),
        (changed(gold_set_hash=b"short"), PackFault.FIELD_INVALID),
        (changed(pack_type="STT_ADAPTATION_PROFILE"), PackFault.OF_ANOTHER_TYPE),
        (canonical(a_pack()) + b"\xa2\x06\x01x", PackFault.NOT_CANONICAL),
        (canonical(a_pack()) + canonical(packs.SttVocabPack(header=a_pack().header)), PackFault.NOT_CANONICAL),
    ],
)
def test_a_pack_that_is_not_exactly_what_its_type_says_is_not_loaded(payload: bytes, fault: PackFault) -> None:
    assert pack_formats.parse("STT_VOCAB_PACK", canonical(a_pack())) == a_pack()
    with pytest.raises(PackUnusable) as refused:
        pack_formats.parse("STT_VOCAB_PACK", payload)
    assert refused.value.fault is fault


def test_an_orphan_has_no_parser() -> None:
    with pytest.raises(PackUnusable) as refused:
        pack_formats.parse("WAKE_THRESHOLD_PACK", b"")
    assert refused.value.fault is PackFault.TYPE_UNKNOWN


def trials(impostors: int, highest: float, genuine: int = 50) -> list[LabelledItem]:
    said = [labelled(trial(highest - number), both(TrialLabel()), f"i{number}") for number in range(impostors)]
    return said + [labelled(trial(30.0), both(TrialLabel(genuine=True)), f"g{number}") for number in range(genuine)]


def test_the_threshold_moves_to_what_the_trials_prove_and_voice_identity_reads_the_pack() -> None:
    base = SHIPPED.read_bytes()
    before = voiceid_pack.parse(base)
    items = trials(4000, 8.0)
    payload = build(THRESHOLD_PACK, source(items, base=base, built_at="2026-11-23T00:00:00Z"))
    after = voiceid_pack.parse(payload)
    limit = after.thresholds().policy.conf_high_bp
    accepted_impostors = [one for one in items[:4000] if 10_000 * posterior(one.item.trial.score, 0.01) >= limit]
    assert limit > before.thresholds().policy.conf_high_bp
    assert accepted_impostors == []
    assert (after.version, after.status) == (before.version + 1, voiceid_pack.PackStatus.PROVISIONAL)
    assert after.reasons[-1].where == "GOLD_SET_TEST_V1@3"
    [derived] = [one for one in after.derivations if one.setting == "conf_high_bp"]
    assert (derived.value, derived.trials, derived.observed) == (limit, 4000, 0)
    assert all(row.high is None for row in after.cohorts) and after.cohorts[0].mid is not None
    assert (after.fused, after.prune) == (before.fused, before.prune)


def test_a_pack_names_the_calibration_and_its_own_gold_set_and_none_that_its_base_was_taught_by() -> None:
    shipped = SHIPPED.read_bytes()
    earlier = build(THRESHOLD_PACK, source(trials(4000, 9.0), base=shipped, built_at="2026-11-22T00:00:00Z"))
    again = dataclasses.replace(
        source(trials(4000, 8.0), base=earlier, built_at="2026-11-23T00:00:00Z"), gold_set_ref="GOLD_SET_TEST_V1@4"
    )
    before, after = (voiceid_pack.parse(one) for one in (shipped, build(THRESHOLD_PACK, again)))
    assert [one.name for one in after.data.inputs] == [*(one.name for one in before.data.inputs), "GOLD_SET_TEST_V1@4"]
    named = [one.where for one in after.reasons if one.where.startswith("GOLD_SET")]
    assert named == ["GOLD_SET_TEST_V1@4"]
    assert [one for one in after.reasons if one.where not in named] == before.reasons


def test_the_threshold_never_falls_below_what_the_posterior_asks_for() -> None:
    assert high_bp(trials(4000, -20.0), 0.01) == 9000
    payload = build(THRESHOLD_PACK, source(trials(4000, -20.0), base=SHIPPED.read_bytes()))
    assert payload == b""


COMMITMENTS = {name: name.encode().rjust(32, b"-") for name in ("ann", "ben", "cleo")}
PRIOR, MID_BP = 0.01, 5000
"""Of the pack that ships."""


def llr(score_bp: float) -> float:
    """The ratio whose posterior is that."""
    share = score_bp / 10_000
    return math.log(share / (1 - share)) - math.log(PRIOR / (1 - PRIOR))


def heard(score_bp: float, enrolled: str, spoke: str, number: int = 0, *, genuine: bool = False) -> LabelledItem:
    content = trial(llr(score_bp), enrolled=enrolled, spoke=spoke)
    return labelled(content, both(TrialLabel(genuine=genuine)), f"{enrolled}-{spoke}-{number}")


def with_pairs(items: list[LabelledItem], base: bytes = b"") -> bytes:
    given = {"base": base or SHIPPED.read_bytes(), "built_at": "2026-11-23T00:00:00Z", "commitments": COMMITMENTS}
    return build(THRESHOLD_PACK, source(items, **given))


def pairs_of(items: list[LabelledItem], base: bytes = b"") -> list[tuple[str, str, int, int, int]] | None:
    """By the names behind the commitments: the pair, its limit, its impostor trials, those that were named."""
    found = voiceid_pack.parse(with_pairs(items, base)).pairs
    names = {commitment.hex(): name for name, commitment in COMMITMENTS.items()}
    return found and [
        (names[one.users[0]], names[one.users[1]], one.min_score_bp, one.impostors, one.named) for one in found
    ]


def test_who_would_have_been_named_for_another_is_a_pair_that_takes_more_than_either_reached() -> None:
    others = trials(4000, 8.0)
    hard = [heard(6000.5, "ben", "ann"), heard(7000.5, "ann", "ben"), heard(100, "ann", "ben", 1)]
    assert pairs_of([*others, *hard]) == [("ann", "ben", 7001, 3, 2)]


def test_a_pair_is_one_from_the_score_on_that_names() -> None:
    policy = voiceid_pack.parse(SHIPPED.read_bytes()).thresholds().policy
    assert policy.conf_mid_bp == MID_BP
    others = trials(4000, 8.0)
    assert pairs_of([*others, heard(MID_BP - 0.5, "ann", "ben")]) is None
    assert pairs_of([*others, heard(MID_BP + 0.5, "ann", "ben")]) == [("ann", "ben", MID_BP + 1, 1, 1)]


def test_only_who_is_known_and_surely_another_makes_a_pair() -> None:
    disputed = labelled(
        trial(llr(9000), enrolled="ann", spoke="ben"), [TrialLabel(genuine=True), TrialLabel()], "disputed"
    )
    stranger, herself = heard(9000, "ann", "a-stranger"), heard(9000, "ann", "ann", genuine=True)
    assert pairs_of([*trials(4000, 8.0), disputed, stranger, herself]) is None


def test_a_limit_never_exceeds_what_a_score_can_be_and_pairs_stand_in_order() -> None:
    saturated = labelled(trial(60.0, enrolled="cleo", spoke="ben"), both(TrialLabel()), "saturated")
    found = pairs_of([*trials(8000, 8.0), saturated, heard(6000.5, "ben", "ann")])
    assert found == [("ann", "ben", 6001, 1, 1), ("ben", "cleo", 10_000, 1, 1)]


def test_pairs_of_the_pack_before_are_not_carried_on() -> None:
    others = trials(4000, 8.0)
    first = with_pairs([*others, heard(6000.5, "ann", "ben")])
    assert pairs_of([*others, heard(6000.5, "ben", "cleo")], first) == [("ben", "cleo", 6001, 1, 1)]
    assert pairs_of(others, first) is None


def test_the_same_limits_and_pairs_again_are_no_new_pack() -> None:
    items = [*trials(4000, 8.0), heard(6000.5, "ann", "ben")]
    assert with_pairs(items, with_pairs(items)) == b""


@pytest.mark.parametrize("items", [[], trials(10, 0.0), trials(4000, 500.0)], ids=["none", "few", "saturated"])
def test_trials_that_prove_no_limit_make_no_pack(items: list[LabelledItem]) -> None:
    with pytest.raises(BuildFailed):
        build(THRESHOLD_PACK, source(items, base=SHIPPED.read_bytes()))


@pytest.mark.parametrize("base", [b"", b"{}", json.dumps({"artifact_type": THRESHOLD_PACK}).encode()])
def test_without_a_pack_in_force_no_threshold_pack_is_built(base: bytes) -> None:
    with pytest.raises(BuildFailed):
        build(THRESHOLD_PACK, source(trials(4000, 8.0), base=base))


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ({"conf_mid_bp": 9000, "conf_high_bp": 9000}, PackFault.FIELD_INVALID),
        ({"conf_mid_bp": -1, "conf_high_bp": 9000}, PackFault.FIELD_INVALID),
        ({"conf_mid_bp": 5000, "conf_high_bp": 10_001}, PackFault.FIELD_INVALID),
        ({"conf_mid_bp": 5000, "conf_high_bp": True}, PackFault.FIELD_INVALID),
        ({"conf_mid_bp": 5000}, PackFault.FIELD_INVALID),
    ],
)
def test_a_threshold_pack_with_limits_that_are_none_is_not_loaded(policy: dict[str, Any], fault: PackFault) -> None:
    pack = json.loads(SHIPPED.read_bytes()) | {"policy": policy}
    with pytest.raises(PackUnusable) as refused:
        pack_formats.parse(THRESHOLD_PACK, json.dumps(pack, sort_keys=True, separators=(",", ":")).encode())
    assert refused.value.fault is fault


@given(st.floats(-1000, 1000), st.floats(0.001, 0.999))
def test_scores_become_posteriors_as_voice_identity_computes_them(llr: float, prior: float) -> None:
    assert math.isclose(posterior_bp(llr, prior), 10_000 * posterior(llr, prior), rel_tol=1e-9, abs_tol=1e-9)


def test_labels_of_one_item_do_not_leak_into_another() -> None:
    one, two = labelled(utterance(), both(edits(edit(0, 1, "a"))), "i1"), LabelledItem(item=item(utterance(), "i2"))
    two.labels.append(label(edits(edit(0, 1, "b")), "ann", "i2"))
    [first, second] = built("STT_ADAPTATION_PROFILE", one, two).substitutions
    assert (first.meant, second.meant) == ("a", "b")
