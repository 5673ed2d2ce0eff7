"""Which setting applies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.voiceid.precedence import Ambiguous, Layer, Resolved, SettingRow, Subject, resolve

SUBJECT = Subject(locale="en-US", channel="ios", user_id="ann")
IDS = {
    Layer.GLOBAL_DEFAULT: "",
    Layer.TENANT_OVERRIDE: "acme",
    Layer.LOCALE_OVERRIDE: "en-US",
    Layer.CHANNEL_OVERRIDE: "ios",
    Layer.USER_EXCEPTION: "ann",
}


def row(
    layer: Layer, source: str = "pack", layer_id: str | None = None, **values: int | None
) -> SettingRow[int | None]:
    return SettingRow(layer, IDS[layer] if layer_id is None else layer_id, source, values)


@pytest.mark.parametrize("highest", Layer)
def test_the_most_specific_layer_that_sets_a_field_supplies_it(highest):
    resolved = resolve([row(layer, high=int(layer)) for layer in Layer if layer <= highest], SUBJECT)
    assert resolved == Resolved({"high": int(highest)}, {"high": highest})


def test_an_unset_field_falls_through_field_by_field():
    resolved = resolve(
        [
            row(Layer.USER_EXCEPTION, high=None, mid=3),
            row(Layer.GLOBAL_DEFAULT, high=1, mid=1, margin=1),
            row(Layer.LOCALE_OVERRIDE, high=2),
        ],
        SUBJECT,
    )
    assert isinstance(resolved, Resolved)
    assert resolved.values == {"high": 2, "mid": 3, "margin": 1}
    assert resolved.layers == {
        "high": Layer.LOCALE_OVERRIDE,
        "mid": Layer.USER_EXCEPTION,
        "margin": Layer.GLOBAL_DEFAULT,
    }


@pytest.mark.parametrize("layer", [Layer.LOCALE_OVERRIDE, Layer.CHANNEL_OVERRIDE, Layer.USER_EXCEPTION])
@pytest.mark.parametrize("layer_id", ["", "somebody-else"])
@pytest.mark.parametrize("subject", [SUBJECT, Subject()])
def test_a_row_for_someone_else_does_not_apply(layer, layer_id, subject):
    resolved = resolve([row(Layer.GLOBAL_DEFAULT, high=1), row(layer, layer_id=layer_id, high=2)], subject)
    assert resolved == Resolved({"high": 1}, {"high": Layer.GLOBAL_DEFAULT})


@pytest.mark.parametrize("layer", Layer)
def test_two_rows_of_equal_precedence_are_ambiguous_even_below_a_layer_that_decides(layer):
    rows = [row(layer, "a", high=1), row(layer, "b", high=1)]
    above = [row(Layer.USER_EXCEPTION, high=9)] if layer != Layer.USER_EXCEPTION else []
    assert resolve(rows + above, SUBJECT) == Ambiguous(layer, ("a", "b"))


@given(st.permutations([row(layer, high=int(layer), low=None) for layer in Layer]))
def test_the_order_of_rows_does_not_matter(rows):
    assert resolve(rows, SUBJECT) == Resolved({"high": 5}, {"high": Layer.USER_EXCEPTION})


@given(st.lists(st.tuples(st.sampled_from(Layer), st.integers(0, 9)), max_size=8))
def test_precedence_fails_closed_exactly_when_a_layer_applies_twice(drawn):
    result = resolve([row(layer, str(i), high=value) for i, (layer, value) in enumerate(drawn)], SUBJECT)
    layers = [layer for layer, _ in drawn]
    assert isinstance(result, Ambiguous) == (len(set(layers)) < len(layers))
    if isinstance(result, Resolved) and layers:
        assert result.values["high"] == dict(drawn)[max(layers)]
