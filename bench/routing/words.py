"""How many words a transcript has wrong (WER): substitutions, insertions and deletions against what was said."""

from __future__ import annotations

import re
from collections.abc import Sequence


def words(text: str) -> list[str]:
    """The words, without capitals and punctuation."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words to change, leave out or put in to make the one of the other."""
    row = list(range(len(heard) + 1))
    for number, wanted in enumerate(said, 1):
        above, row[0] = row[0], number
        for column, word in enumerate(heard, 1):
            above, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, above + (word != wanted))
    return row[-1]
