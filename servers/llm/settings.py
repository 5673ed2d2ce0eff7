"""What an operator may configure of language (`[owners.llm]`). Who serves whom is for the routing profile."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from servers.routing.endpoints import check_base_url

OPENAI: Final = "openai/llm"
LLAMA: Final = "llama/llm"


class OpenAiSettings(BaseModel):
    """`owners.llm.openai`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(default="gpt-5-mini", min_length=1)
    base_url: str = Field(default="", description="unset: OpenAI's own")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.base_url:
            check_base_url(self.base_url, keyed=True)
        return self


class LlamaSettings(BaseModel):
    """`owners.llm.llama`: any endpoint that speaks OpenAI's Chat Completions, such as llama.cpp, vLLM or Ollama."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(default="", description="such as http://127.0.0.1:8080/v1; unset: there is none")
    model: str = Field(default="llama", min_length=1)
    answer: Literal["json_schema", "json_object"] = Field(
        default="json_object", description="how it is told to answer in JSON: most servers know json_object"
    )
    needs_secret: bool = Field(
        default=False, description="whether it wants a key, kept under kms://providers/llama/endpoint"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.base_url:
            check_base_url(self.base_url, keyed=self.needs_secret)
        return self


class LlmSettings(BaseModel):
    """What answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    openai: OpenAiSettings = OpenAiSettings()
    llama: LlamaSettings = LlamaSettings()
