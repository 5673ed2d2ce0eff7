"""What an operator may not configure of speech to text: a key in the clear, or one in a URL."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from servers.stt.settings import SttSettings


@pytest.mark.parametrize(
    ("vendor", "settings"),
    [
        ("openai", {"base_url": "http://vendor.example/v1"}),
        ("openai", {"base_url": "https://user:secret-in-a-url@vendor.example/v1"}),
        ("google", {"endpoint": "speech.example:443", "plaintext": True}),
        ("google", {"plaintext": True}),
    ],
)
def test_an_endpoint_that_would_expose_the_key_is_refused(vendor, settings):
    with pytest.raises(ValidationError):
        SttSettings.model_validate({vendor: settings})


@pytest.mark.parametrize(
    ("vendor", "settings"),
    [
        ("openai", {"base_url": "https://vendor.example/v1"}),
        ("openai", {"base_url": "http://127.0.0.1:8080/v1"}),
        ("google", {"endpoint": "127.0.0.1:9000", "plaintext": True}),
    ],
)
def test_an_endpoint_under_tls_or_on_this_machine_is_taken(vendor, settings):
    assert getattr(SttSettings.model_validate({vendor: settings}), vendor).model_dump().items() >= settings.items()
