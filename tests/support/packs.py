"""Threshold packs for tests: the one that ships, with something changed."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from servers.shipped import SHIPPED
from servers.voiceid.calibration.pack import PackStatus, ThresholdPack, parse


@functools.cache
def shipped() -> ThresholdPack:
    """The pack that ships."""
    return parse((resources.files("servers.voiceid") / "packs" / SHIPPED).read_bytes())


def variant(*, proven: bool = False, policy: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """Its canonical bytes with other fields; `proven` makes it a CANDIDATE, so that CONFIRMED stays CONFIRMED."""
    pack = shipped()
    if proven:
        changes |= {"status": PackStatus.CANDIDATE, "reasons": []}
    changes["policy"] = {**pack.policy, **(policy or {})}
    return pack.model_copy(update=changes).canonical()
