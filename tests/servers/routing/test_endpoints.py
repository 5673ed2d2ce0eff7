"""Where vendors are: which settings are taken, and that a key never goes over a network in clear."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from servers.llm.settings import LlmSettings
from servers.routing.endpoints import check_base_url, check_endpoint
from servers.runtime.config import ConfigError, load_settings
from servers.tts.settings import TtsSettings

SECRET = "sk-canary0123456789abcdefghijklmnopqrstuv"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://eu.proxy.internal:8443/openai/v1",
        "http://127.0.0.1:8080/v1",
        "http://localhost:8080/v1",
        "http://[::1]:8080/v1",
    ],
)
def test_a_key_goes_over_https_or_stays_on_the_machine(url: str) -> None:
    check_base_url(url, keyed=True)


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.7:8080/v1", "http://api.openai.com/v1", "http://localhost.evil.example/v1", "http://127.1/v1"],
)
def test_a_key_never_goes_over_a_network_in_clear(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        check_base_url(url, keyed=True)
    check_base_url(url, keyed=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nope",
        "api.openai.com/v1",
        "ftp://api.openai.com",
        "https:///v1",
        "https://host:0/v1",
        "https://host:99999/v1",
        "https://[::1/v1",
        "https://host/v1 extra",
        "https://host/v1\nx: y",
        "https://user@host/v1",
        "https://user:word@host/v1",
        "https://host/v1?key=word",
        "https://host/v1#part",
        f"https://host/{SECRET}/v1",
    ],
)
@pytest.mark.parametrize("keyed", [True, False])
def test_what_is_no_base_url_is_refused_without_being_quoted(url: str, keyed: bool) -> None:
    with pytest.raises(ValueError, match="`base_url`") as caught:
        check_base_url(url, keyed=keyed)
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "plaintext"),
    [
        ("texttospeech.googleapis.com:443", False),
        ("10.0.0.7:443", False),
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
    ],
)
def test_an_endpoint_is_a_host_and_a_port(endpoint: str, plaintext: bool) -> None:
    check_endpoint(endpoint, plaintext=plaintext)


@pytest.mark.parametrize(
    ("endpoint", "plaintext"),
    [
        ("what ever", False),
        ("host", False),
        ("host:", False),
        ("host:0", False),
        ("host:65536", False),
        ("https://host:443", False),
        ("::1:443", False),
        ("10.0.0.7:443", True),
        ("googleapis.com:443", True),
        ("localhost:5000", True),
    ],
)
def test_what_is_no_endpoint_is_refused(endpoint: str, plaintext: bool) -> None:
    with pytest.raises(ValueError, match=r"host:port|loopback only"):
        check_endpoint(endpoint, plaintext=plaintext)


@pytest.mark.parametrize(
    ("owner", "model", "section", "where"),
    [
        ("tts", TtsSettings, {"openai": {"base_url": "http://10.0.0.7/v1"}}, "owners.tts.openai"),
        ("tts", TtsSettings, {"google": {"endpoint": "10.0.0.7:443", "plaintext": True}}, "owners.tts.google"),
        ("tts", TtsSettings, {"google": {"plaintext": True}}, "owners.tts.google"),
        ("llm", LlmSettings, {"openai": {"base_url": f"https://{SECRET}@host/v1"}}, "owners.llm.openai"),
        (
            "llm",
            LlmSettings,
            {"llama": {"base_url": "http://10.0.0.7/v1", "needs_secret": True}},
            "owners.llm.llama",
        ),
    ],
)
def test_an_owner_says_which_setting_of_it_cannot_be_meant(
    owner: str, model: type[BaseModel], section: dict[str, Any], where: str
) -> None:
    settings = load_settings(flags={f"owners.{owner}": section})
    with pytest.raises(ConfigError, match=where) as caught:
        settings.owner_settings(owner, model)
    assert SECRET not in str(caught.value)


def test_a_model_on_the_network_that_wants_no_key_needs_no_tls() -> None:
    section = {"llama": {"base_url": "http://10.0.0.7:8080/v1"}}
    settings = load_settings(flags={"owners.llm": section}).owner_settings("llm", LlmSettings)
    assert settings.llama.base_url == "http://10.0.0.7:8080/v1"
