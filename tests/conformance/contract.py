"""What the comments of the contracts promise: what each RPC may be refused for, and how a reason travels."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.clients import STUBS

PROTO = Path(__file__).parents[2] / "proto"
ANY_RPC = frozenset(
    (
        "FIELD_INVALID",
        "INTERNAL_ERROR",
        "OVERLOADED",
        "NOT_SERVING",
        "DEADLINE_REQUIRED",
        "DEADLINE_PASSED",
        "CALL_CANCELLED",
        "TOKEN_MISSING",
        "TOKEN_INVALID",
        "TOKEN_EXPIRED",
        "TOKEN_WRONG_AUDIENCE",
    )
)
"""What surrounds every call may refuse any of them; an RPC's comment need not repeat it."""

_REASON = re.compile(r"((?:  // [^\n]*\n|  //\n)+)  ERROR_REASON_(\w+) = ")
_RPC = re.compile(r"((?:  // [^\n]*\n|  //\n)+)  rpc (\w+)\(")
_WORD = re.compile(r"\b[A-Z][A-Z_]{3,}\b")
_SAME_AS = re.compile(r"Errors: those of (\w+)")
_SOMETIMES = re.compile(r"((?:`\w+`(?: and )?)+) (?:are|is) (?:there|absent) where")


@dataclass(frozen=True)
class Travels:
    """A reason's gRPC code, the metadata keys that come with it, and those of them that come in some cases only."""

    code: str
    keys: frozenset[str]
    sometimes: frozenset[str]

    def comes_with(self, code: str, keys: Collection[str]) -> bool:
        """Whether a refusal is as announced."""
        return code == self.code and self.keys - self.sometimes <= set(keys) <= self.keys


@functools.cache
def reasons() -> Mapping[str, Travels]:
    """Every reason, as its comment in `error_reason.proto` says."""
    text = (PROTO / "selene/common/v1/error_reason.proto").read_text(encoding="utf-8")
    found = {}
    for comment, name in _REASON.findall(text):
        said = re.sub(r"\s*//\s*", " ", comment)
        example = re.search(r"\{.*\}", said)
        code = _WORD.search(said)
        if example and code:
            sometimes = re.findall(r"`(\w+)`", " ".join(_SOMETIMES.findall(said)))
            found[name] = Travels(code[0], frozenset(json.loads(example[0])["metadata"]), frozenset(sometimes))
    return found


@functools.cache
def promised() -> Mapping[str, frozenset[str]]:
    """The reasons in each RPC's comment, by `package.Service/Method`."""
    found: dict[str, frozenset[str]] = {}
    for service in STUBS:
        package, _, short = service.rpartition(".")
        text = (PROTO / package.replace(".", "/") / "service.proto").read_text(encoding="utf-8")
        body = text[text.index(f"service {short} {{") :]
        body = body[: body.index("\n}\n")]
        for comment, method in _RPC.findall(body):
            named = frozenset(_WORD.findall(comment)) & reasons().keys()
            if same := _SAME_AS.search(comment):
                named |= found[f"{service}/{same[1]}"]
            found[f"{service}/{method}"] = named
    return found
