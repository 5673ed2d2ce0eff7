"""Every regular expression of the contracts has words, so that nobody who breaks a rule is shown one."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import selene
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from clients.patterns import WORDS, in_words

MODULES = sorted(
    "selene." + ".".join(file.relative_to(root).with_suffix("").parts)
    for root in map(Path, selene.__path__)
    for file in root.rglob("*_pb2.py")
)


def patterns_of(message: Descriptor) -> set[str]:
    found = {pattern for field in message.fields for pattern in rules_of(field)}
    return found.union(*(patterns_of(nested) for nested in message.nested_types))


def rules_of(field: FieldDescriptor) -> list[str]:
    rules: Any = field.GetOptions().Extensions[validate_pb2.field]  # type: ignore[index]  # the stub takes no other
    several = rules.map.keys.string.pattern, rules.map.values.string.pattern
    return [one for one in (rules.string.pattern, rules.repeated.items.string.pattern, *several) if one]


def test_every_pattern_of_the_contracts_has_words_and_none_is_left_over() -> None:
    modules = [import_module(name) for name in MODULES]
    messages = [message for module in modules for message in module.DESCRIPTOR.message_types_by_name.values()]
    used = set[str]().union(*map(patterns_of, messages))
    assert used == set(WORDS)


@pytest.mark.parametrize("pattern", sorted(WORDS))
def test_a_broken_rule_is_told_in_words(pattern: str) -> None:
    told = in_words(f"does not match regex pattern `{pattern}`")
    assert told == f"must be {WORDS[pattern]}"
    assert not re.search(r"[\^\\{]|\]\*|\]\+", told)


def test_what_is_no_pattern_or_has_no_words_stays_as_it_is() -> None:
    for description in ("must be at least 1 characters", "does not match regex pattern `^x+$`"):
        assert in_words(description) == description
