"""What an operator may configure of text to speech (`[owners.tts]`). Who serves whom is for the routing profile."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from servers.routing.endpoints import check_base_url, check_endpoint


class OpenAiSettings(BaseModel):
    """`owners.tts.openai`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(default="gpt-4o-mini-tts", min_length=1)
    voice: str = Field(default="alloy", min_length=1)
    base_url: str = Field(default="", description="unset: OpenAI's own")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.base_url:
            check_base_url(self.base_url, keyed=True)
        return self


class GoogleSettings(BaseModel):
    """`owners.tts.google`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(default="", description="host:port; unset: Google's own")
    plaintext: bool = Field(default=False, description="no TLS, for an endpoint on this machine")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.endpoint:
            check_endpoint(self.endpoint, plaintext=self.plaintext)
        elif self.plaintext:
            raise ValueError("`plaintext` needs an `endpoint` on this machine")
        return self


class TtsSettings(BaseModel):
    """What speaks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    local: bool = Field(default=True, description="whether the synthesiser on this machine is there")
    openai: OpenAiSettings = OpenAiSettings()
    google: GoogleSettings = GoogleSettings()
