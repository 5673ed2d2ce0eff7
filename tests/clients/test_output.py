"""Tables on terminals: whatever room there is, nothing of a cell is cut away."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from clients.cli.output import Output, whole

ID = "0123456789abcdef" * 4


def drawn(width: int, *rows: tuple[str, ...], headings: tuple[str, ...] = ("delivery", "state", "message")) -> str:
    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    out = io.StringIO()
    whole(Console(file=out, width=width, force_terminal=True, color_system=None), Group(table, Text("below")))
    return out.getvalue()


def test_a_table_that_fits_is_a_table() -> None:
    first, second, *_ = drawn(120, (ID, "ACCEPTED", "m-1")).splitlines()
    assert first.split() == ["delivery", "state", "message"] and second.split() == [ID, "ACCEPTED", "m-1"]


def test_rows_that_do_not_fit_have_a_line_a_cell_without_the_empty_ones() -> None:
    message = f"cli-{ID[:36]}"
    lines = [line.split() for line in drawn(80, (ID, "ACCEPTED", message), (ID, "", "m-2")).splitlines()]
    assert lines == [
        ["delivery", ID],
        ["state", "ACCEPTED"],
        ["message", message],
        [],
        ["delivery", ID],
        ["message", "m-2"],
        ["below"],
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_word_is_lost_at_any_width(width: int) -> None:
    shown = drawn(width, (ID, "ACCEPTED", "m-1"))
    assert "…" not in shown
    assert ID in "".join(shown.split()) or width == 20
    assert all(cell_len(line) <= width for line in shown.splitlines())
    assert set(ID) <= set(shown)


def test_room_is_taken_from_sentences_and_never_from_words() -> None:
    row = ("kms://providers/openai/llm", "PH1.D", "found in a log of the seventh of May and then revoked")
    shown = drawn(60, row, headings=("handle", "environment", "why it is so"))
    assert {"environment", "kms://providers/openai/llm"} <= set(shown.split())


def test_pairs_fold_what_is_longer_than_the_terminal() -> None:
    pairs = Table(box=None, pad_edge=False, show_header=False)
    pairs.add_row("root", ID)
    out = io.StringIO()
    whole(Console(file=out, width=40, force_terminal=True, color_system=None), pairs)
    assert f"root{ID}" == "".join(out.getvalue().split())


def test_a_list_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).show({}, Table("gold set", "domain"))
    assert capsys.readouterr().out == "there is none\n"


def test_sentences_still_wrap_at_words_in_a_table() -> None:
    told = "its error rates are not proven by the trials that there are, so it is believed to be PROBABLE only"
    shown = drawn(60, ("p-1", told), headings=("pack", "why"))
    assert shown.split()[:3] == ["pack", "why", "p-1"]
    assert " ".join(shown.split()).replace("pack why p-1 ", "").startswith(told)


def test_what_a_note_says_to_type_stays_one_line() -> None:
    err = io.StringIO()
    Output(as_json=False, err=Console(file=err, width=40)).note(f"go on: selene deliver watch {ID} --until-final")
    assert err.getvalue() == f"go on: selene deliver watch {ID} --until-final\n"
