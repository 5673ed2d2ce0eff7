"""Verifies a store's ledgers with nothing but the store and the deployment's public key."""

from __future__ import annotations

from pathlib import Path

from servers.runtime.config import ConfigError, Settings
from servers.runtime.storage import SIGNING_SEED
from store.keys import SigningKey
from store.verify import VerifyReport, verify_store


async def verify_offline(store_url: str, settings: Settings) -> VerifyReport:
    """The report on `store_url`. ConfigError when the signing seed is neither beside the file nor in `data_dir`."""
    beside = [Path(store_url.removeprefix("sqlite:///")).parent] if store_url.startswith("sqlite:///") else []
    for folder in (*beside, settings.data_dir):
        seed = folder / SIGNING_SEED
        if seed.is_file():
            key = SigningKey(seed.read_bytes())
            return await verify_store(store_url, {key.key_id: key.public})
    raise ConfigError(f"no {SIGNING_SEED} beside the store or in {settings.data_dir}; set SELENE_DATA_DIR")
