"""What an operator may configure of text to speech (`[owners.tts]`). Who serves whom is for the routing profile."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OpenAiSettings(BaseModel):
    """`owners.tts.openai`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(default="gpt-4o-mini-tts", min_length=1)
    voice: str = Field(default="alloy", min_length=1)
    base_url: str = Field(default="", description="unset: OpenAI's own")


class GoogleSettings(BaseModel):
    """`owners.tts.google`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(default="", description="host:port; unset: Google's own")
    plaintext: bool = Field(default=False, description="no TLS, for an endpoint on this machine")


class TtsSettings(BaseModel):
    """What speaks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    local: bool = Field(default=True, description="whether the synthesiser on this machine is there")
    openai: OpenAiSettings = OpenAiSettings()
    google: GoogleSettings = GoogleSettings()
