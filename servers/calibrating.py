"""`selene calibrate`: trials through the serving pipeline, a pack out of them, its plots, its place in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from servers.packs import scope_of
from servers.process import models_dir
from servers.runtime.clock import SystemClock
from servers.runtime.config import Settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.storage import open_store
from servers.shipped import ARTIFACT_TYPE, register_pack
from servers.voiceid.calibration.frozen import frozen_of
from servers.voiceid.calibration.plots import Shown, draw_det, draw_reliability
from servers.voiceid.calibration.run import CalibrationResult, Request, calibrate
from servers.voiceid.calibration.trials import Cohort
from servers.voiceid.extract import PipelineExtractor
from servers.voiceid.scorer import open_batcher, open_models
from servers.voiceid.settings import VoiceIdSettings
from servers.voiceid.silero import vad_path

PACK_FILE = "pack.json"
FROZEN_FILE = "frozen.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to calibrate, where the files go, and whether the pack is to be used."""

    source: Path
    cohort: str
    out: Path
    note: str
    language: str
    tenant: str
    activate: bool


def run(wish: Wish, settings: Settings, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Writes the pack and the plots to `wish.out`; returns what a person wants to know. ValueError, StoreError."""
    voiceid = settings.owner_settings("voiceid", VoiceIdSettings)
    cache = models_dir(settings)
    models = open_models(cache, vad_path(cache), voiceid.models, voiceid.overlap_model)
    batcher = open_batcher()
    try:
        request = Request(
            name=wish.cohort,
            note=wish.note,
            version=1,
            model_set_hash=models.model_set_hash,
            created_at=datetime.now(UTC).replace(microsecond=0),
            tool=f"selene calibrate {version('selene-platform')}",
            cohort=Cohort(language=wish.language),
        )
        result = calibrate(wish.source, PipelineExtractor(models, batcher), request, progress)
    finally:
        batcher.close()
    wish.out.mkdir(parents=True, exist_ok=True)
    (wish.out / PACK_FILE).write_bytes(result.pack.canonical())
    (wish.out / FROZEN_FILE).write_bytes(frozen_of(result, wish.cohort).canonical())
    draw(result, request, wish.out)
    pack_ref = asyncio.run(_activate(wish, settings, result)) if wish.activate else "not activated"
    return {
        "cohort": wish.cohort,
        "status": result.pack.status.value,
        "conf_high_bp": result.pack.policy["conf_high_bp"],
        "conf_mid_bp": result.pack.policy["conf_mid_bp"],
        "cllr": round(result.pack.quality.cllr, 4),
        "pack": pack_ref,
        "files": str(wish.out),
    }


def draw(result: CalibrationResult, request: Request, out: Path) -> None:
    """DET and reliability plots as PNG."""
    shown = Shown(result.holdout, result.fused_llrs, result.prune_llrs, result.pack)
    draw_det(shown, request.resampling, out / "det.png")
    draw_reliability(shown, out / "reliability.png")


async def _activate(wish: Wish, settings: Settings, result: CalibrationResult) -> str:
    clock = SystemClock()
    store = await open_store(settings, clock, UuidV7Ids(clock))
    try:
        row = await register_pack(
            store,
            result.pack.canonical(),
            scope=scope_of(wish.tenant),
            tenant_id=wish.tenant,
            provenance_ref=f"selene calibrate:{wish.source.name}",
        )
    finally:
        await store.close()
    return f"{ARTIFACT_TYPE}@{row.artifact_version}"
