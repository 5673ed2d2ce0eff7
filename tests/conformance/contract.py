"""What the comments of the contracts promise: what each RPC may be refused for, and how a reason travels."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
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


@dataclass(frozen=True)
class Travels:
    """A reason's gRPC code and the metadata keys that come with it."""

    code: str
    keys: frozenset[str]


@functools.cache
def reasons() -> Mapping[str, Travels]:
    """Every reason, as its comment in `error_reason.proto` says."""
    text = (PROTO / "selene/common/v1/error_reason.proto").read_text(encoding="utf-8")
    found = {}
    for comment, name in _REASON.findall(text):
        example = re.search(r"\{.*\}", comment)
        code = _WORD.search(comment)
        if example and code:
            found[name] = Travels(code[0], frozenset(json.loads(example[0])["metadata"]))
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
            if "those of Identify" in comment:
                named |= found[f"{service}/Identify"]
            found[f"{service}/{method}"] = named
    return found
