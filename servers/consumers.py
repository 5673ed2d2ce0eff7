"""Who loads which packs, and how (§11, §19): the replays of every owner that a server of this repository has.

Owners import no owner. Whoever has to hold a pack against its consumer's own parser and rule is given this table by the
process that serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from servers.llm import consumption as llm
from servers.replays import Consumption
from servers.stt import consumption as stt
from servers.tts import consumption as tts
from servers.voiceid import consumption as voiceid

CONSUMERS: Final[Mapping[str, Consumption]] = MappingProxyType(
    {**voiceid.CONSUMPTION, **stt.CONSUMPTION, **tts.CONSUMPTION, **llm.CONSUMPTION}
)
