"""A routing profile for every test, and a Valkey for those that want one."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selene.routing.v1 import routing_pb2 as v1

from servers.routing.defaults import ProviderSeed, default_profile
from tests.support.valkey import ValkeyServer, running_valkey

SEEDS = {
    v1.DOMAIN_STT: (
        ("selene-local/stt", "local", ""),
        ("google/stt", "us", "kms://providers/google/stt"),
        ("openai/stt", "us", "kms://providers/openai/stt"),
    ),
    v1.DOMAIN_TTS: (("openai/tts", "us", "kms://providers/openai/tts"), ("selene-local/tts", "local", "")),
    v1.DOMAIN_LLM: (("openai/llm", "us", "kms://providers/openai/llm"),),
    v1.DOMAIN_SMS: (("a/sms", "us", "kms://delivery/sms/a"), ("b/sms", "us", "kms://delivery/sms/b")),
}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on beside the ticks has ended when a tick has, however busy the machine."""
    monkeypatch.setattr("servers.routing.beside.STORE_WAIT_S", 30.0)


@pytest.fixture
def profile() -> v1.ProviderRoutingProfileV1:
    """The default profile with three STT providers, given in another order than that of §24."""
    seeds = {
        domain: [
            ProviderSeed(provider_ref=ref, region=region, timeout_s=5.0, kms_handle_ref=handle)
            for ref, region, handle in rows
        ]
        for domain, rows in SEEDS.items()
    }
    return default_profile(
        seeds, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="judge-thresholds-1"
    )


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A real Valkey that keeps nothing on disk."""
    with running_valkey(tmp_path) as server:
        yield server
