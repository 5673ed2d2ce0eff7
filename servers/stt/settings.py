"""What an operator may configure of speech to text (`[owners.stt]`). Who serves whom is for the routing profile."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from servers.routing.endpoints import check_base_url, check_endpoint


class OpenAiSettings(BaseModel):
    """`owners.stt.openai`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(default="gpt-4o-transcribe", min_length=1)
    base_url: str = Field(default="", description="unset: OpenAI's own")
    answer: Literal["streamed", "timed"] = Field(
        default="streamed", description="the text as it is written, or words with times (whisper-1)"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.base_url:
            check_base_url(self.base_url, keyed=True)
        return self


class GoogleSettings(BaseModel):
    """`owners.stt.google`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recognizer: str = Field(
        default="",
        pattern=r"^(projects/[^/]+/locations/[^/]+/recognizers/[^/]+)?$",
        description="projects/{project}/locations/{location}/recognizers/{recognizer}; unset: Google is not asked",
    )
    endpoint: str = Field(default="", description="host:port; unset: that of the location global")
    plaintext: bool = Field(default=False, description="no TLS, for an endpoint on this machine")
    model: str = Field(default="long", min_length=1)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.endpoint:
            check_endpoint(self.endpoint, plaintext=self.plaintext)
        elif self.plaintext:
            raise ValueError("`plaintext` needs an `endpoint` on this machine")
        return self


class SttSettings(BaseModel):
    """Durations in seconds of audio."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_audio_s: float = Field(default=60.0, gt=0, le=300, description="longest utterance; kept in memory, 32 kB/s")
    expected_audio_s: float = Field(
        default=10.0, gt=0, description="an utterance for budgets, which must say yes before any audio has come"
    )
    # The local recogniser gave fifteen clips of read speech 5,425 or more, and 4,533 with white noise 10 dB below them.
    accept_min_bp: int = Field(default=4_500, ge=0, le=10_000, description="least quality of a transcript to be used")
    local_workers: int = Field(
        default=1, ge=0, description="decoder processes of the local recogniser, each for many streams; 0: none"
    )
    models_dir: Path | None = Field(default=None, description="where its model is kept; unset: this user's cache")
    openai: OpenAiSettings = OpenAiSettings()
    google: GoogleSettings = GoogleSettings()
