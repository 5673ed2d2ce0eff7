"""Which version of a pack serves a call (§10, §11, §29): the closest scope's, or a rollout's candidate. Pure.

Versions are overlaid as settings are: deployment, tenant, locale, channel, user; what is closer wins. While a rollout
is in a canary, its candidate serves the subjects of its cohort in the place of the active version of its line. The
subject is what stays the same from call to call: the device where the token is bound to one, else the user, else
whoever calls; of a line of the whole deployment it is the tenant, so that a tenant is on one side as a whole. A service
that speaks for nobody in particular is no subject: the active version serves it, and neither arm counts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from selene.common.v1 import scope_pb2
from selene.common.v1.scope_pb2 import ScopeType

from servers import cohort

RANKS: Final[Mapping[int, int]] = MappingProxyType(
    {
        scope_pb2.SCOPE_TYPE_GLOBAL: 1,
        scope_pb2.SCOPE_TYPE_TENANT: 2,
        scope_pb2.SCOPE_TYPE_LOCALE: 3,
        scope_pb2.SCOPE_TYPE_CHANNEL: 4,
        scope_pb2.SCOPE_TYPE_USER: 5,
    }
)
"""The overlay order of §24, the closest last. Lines of other scopes serve no call."""


class Fault(StrEnum):
    """Why a version does not serve whom it is for."""

    REVOKED = "REVOKED"
    """Governance froze the candidate (§21)."""
    BASELINE_REPLACED = "BASELINE_REPLACED"
    """Another version is active than the one that the candidate is held against."""
    UNREADABLE = "UNREADABLE"
    """Not in the ledger, not signed by a trusted key, or nothing that its consumer's parser takes."""
    AMBIGUOUS = "AMBIGUOUS"
    """Two lines of the same rank apply, so neither does."""


class Arm(StrEnum):
    """Which side of a rollout a call was on."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class Line:
    """A sequence of versions, of which at most one is active; `tenant_id` is empty for the deployment's."""

    artifact_type: str
    tenant_id: str
    scope_type: ScopeType
    scope_id: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version as its consumer has read it. `pack` is what the consumer's parser made of it."""

    line: Line
    version: int
    pack: Any
    package_hash: bytes = b""

    @property
    def ref(self) -> str:
        """As in the ledger, `artifact_type@version`."""
        return f"{self.line.artifact_type}@{self.version}"


@dataclass(frozen=True, slots=True)
class Active:
    """What a line has active: the version that its pointer names, or with a `fault` the last one that could be read.

    `pointed` is the version that the pointer names.
    """

    line: Line
    pointed: int
    version: Version | None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Canary:
    """A rollout whose candidate serves a share of the subjects; with a `fault` it serves nobody."""

    line: Line
    rollout_id: str
    share_bp: int
    baseline_version: int
    version: Version | None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a call is for. `key` stays the same from call to call; empty where nothing does."""

    tenant_id: str
    locale: str = ""
    channel: str = ""
    user_id: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """What serves a call of one type; `arm` where the subject is in a rollout that could be kept to."""

    version: Version | None
    rollout_id: str = ""
    arm: Arm | None = None
    fault: Fault | None = None


def sticky_key(*, device_id: str, user_id: str, caller: str, is_service: bool) -> str:
    """The subject's key: device, user, or a caller who is no service."""
    return device_id or user_id or ("" if is_service else caller)


def choose(active: Sequence[Active], canaries: Sequence[Canary], subject: Subject) -> Served:
    """What serves a call, of one type. The order of the rows does not matter."""
    applying = [each for each in active if _applies(each.line, subject)]
    closest = max((_rank(each.line) for each in applying), default=(0, False))
    chosen = [each for each in applying if _rank(each.line) == closest]
    if len(chosen) > 1:
        return Served(None, fault=Fault.AMBIGUOUS)
    serving = chosen[0] if chosen else None
    testing = [each for each in canaries if _applies(each.line, subject) and _rank(each.line) >= closest]
    if testing:
        return _by_side(max(testing, key=lambda each: (_rank(each.line), each.rollout_id)), serving, subject)
    return Served(None) if serving is None else Served(serving.version, fault=serving.fault)


def _by_side(canary: Canary, serving: Active | None, subject: Subject) -> Served:
    version, unread = (None, None) if serving is None else (serving.version, serving.fault)
    replaced = _replaced(canary, serving)
    key = subject.key if canary.line.tenant_id else subject.tenant_id
    if not key:
        return Served(version, fault=unread)
    is_in_cohort = cohort.serves(canary.rollout_id, key, canary.share_bp)
    fault = (canary.fault if is_in_cohort else unread) or replaced
    if fault is not None:
        return Served(version, canary.rollout_id, None, fault)
    if is_in_cohort:
        return Served(canary.version, canary.rollout_id, Arm.CANDIDATE)
    return Served(version, canary.rollout_id, Arm.BASELINE)


def _replaced(canary: Canary, serving: Active | None) -> Fault | None:
    """The baseline is the active version of the candidate's own line, 0 where there is none."""
    pointed = serving.pointed if serving is not None and serving.line == canary.line else 0
    return None if pointed == canary.baseline_version else Fault.BASELINE_REPLACED


def _rank(line: Line) -> tuple[int, bool]:
    return RANKS[line.scope_type], bool(line.tenant_id)


def _applies(line: Line, subject: Subject) -> bool:
    if line.scope_type not in RANKS or line.tenant_id not in ("", subject.tenant_id):
        return False
    match line.scope_type:
        case scope_pb2.SCOPE_TYPE_TENANT:
            return line.scope_id in ("", subject.tenant_id)
        case scope_pb2.SCOPE_TYPE_LOCALE:
            return bool(subject.locale) and line.scope_id.casefold() == subject.locale.casefold()
        case scope_pb2.SCOPE_TYPE_CHANNEL:
            return bool(subject.channel) and line.scope_id == subject.channel
        case scope_pb2.SCOPE_TYPE_USER:
            return bool(subject.user_id) and line.scope_id == subject.user_id
    return True
