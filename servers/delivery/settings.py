"""What an operator may configure of delivery (`[owners.delivery]`). Who sends what is for the routing profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from servers.delivery.machine import Rules
from servers.delivery.schedule import QuietHours

LEASE_SLACK_S = 10.0
"""What a lease lasts longer than a call at least: for what is kept before it and after."""


class QuietSettings(BaseModel):
    """`owners.delivery.rules.quiet_hours`: minutes of the recipient's day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: int = Field(ge=0, lt=1440)
    end: int = Field(ge=0, lt=1440)
    time_zone: str = Field(default="UTC", description="holds for recipients without one (IANA)")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.hours()
        return self

    def hours(self) -> QuietHours:
        """As the rules take them. ValueError."""
        return QuietHours(self.start, self.end, self.time_zone)


class RuleSettings(BaseModel):
    """`owners.delivery.rules`: see `servers.delivery.machine.Rules`; seconds where a name ends in `_s`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    call_timeout_s: float = Field(default=30.0, gt=0, le=120)
    retry_budget: int = Field(default=16, ge=1, le=1000)
    tries_per_provider: int = Field(default=3, ge=1, le=100)
    backoff_s: float = Field(default=2.0, gt=0, le=3600)
    backoff_max_s: float = Field(default=300.0, gt=0, le=86_400)
    rest_s: float = Field(default=300.0, ge=0, le=86_400)
    key_margin_s: float = Field(default=60.0, ge=0, le=3600)
    clock_skew_s: float = Field(default=60.0, ge=0, le=3600)
    poll_every_s: float = Field(default=60.0, gt=0, le=3600)
    poll_max_s: float = Field(default=3600.0, gt=0, le=86_400)
    inconclusive_polls: int = Field(default=10, ge=1, le=1000)
    webhook_patience_s: float = Field(default=900.0, ge=0, le=86_400)
    quiet_hours: QuietSettings | None = None

    def rules(self) -> Rules:
        """As the machine takes them."""
        values = self.model_dump(exclude={"quiet_hours"})
        return Rules(**values, quiet_hours=None if self.quiet_hours is None else self.quiet_hours.hours())


class DispatchSettings(BaseModel):
    """`owners.delivery.dispatch`: each process has one dispatcher."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=True, description="off: this process accepts, and others send")
    lease_s: float = Field(default=60.0, gt=0, le=900)
    batch: int = Field(default=200, ge=1, le=1000, description="deliveries leased at once")
    concurrency: int = Field(default=100, ge=1, le=1000, description="deliveries under way at once, of each channel")
    open_bytes: int = Field(
        default=128 * 1024 * 1024, ge=1, description="bytes of mails that lie open at once; others wait for them"
    )
    poll_s: float = Field(default=0.5, gt=0, le=60, description="how often is looked where nobody says anything")
    grace_s: float = Field(default=5.0, ge=0, le=120, description="how long calls may go on when the process stops")


class AccountSettings(BaseModel):
    """`owners.delivery.accounts."<provider>"`: an account at a provider. Without one the provider is not configured.

    What is not named here is the adapter's own: where its service is, who sends. No secret: those are under handles.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    rate_per_s: float = Field(default=0.0, ge=0, description="messages a second over all processes; 0: no limit")
    burst: float = Field(default=1.0, ge=1, description="of these at once")
    webhook_secret: str = Field(
        default="",
        pattern=r"^(kms://delivery/[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31})?$",
        description="the handle of what its webhooks are signed with; unset: none are taken",
    )

    @property
    def own(self) -> Mapping[str, Any]:
        """What is the adapter's."""
        return self.model_extra or {}


class WebhookSettings(BaseModel):
    """`owners.delivery.webhooks`: where providers report to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=7417, ge=0, le=65_535)
    public_url: str = Field(default="", description="as providers call it; signatures are over it")


class NatsSettings(BaseModel):
    """`owners.delivery.nats`: wakes dispatchers of other processes at once. Its loss costs latency only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1)
    stream: str = Field(default="SELENE_DELIVERY", pattern=r"^[A-Z0-9_]{1,64}$")
    subject: str = Field(default="selene.delivery.accepted", pattern=r"^[a-z0-9_.]{1,128}$")


class DeliverySettings(BaseModel):
    """What sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: RuleSettings = RuleSettings()
    dispatch: DispatchSettings = DispatchSettings()
    accounts: dict[str, AccountSettings] = Field(default_factory=dict)
    webhooks: WebhookSettings | None = Field(default=None, description="unset: providers report to nobody here")
    nats: NatsSettings | None = None

    @model_validator(mode="after")
    def _lease_outlasts_call(self) -> Self:
        if self.dispatch.lease_s < self.rules.call_timeout_s + LEASE_SLACK_S:
            raise ValueError(f"`dispatch.lease_s` is {LEASE_SLACK_S:g} s longer than `rules.call_timeout_s` at least")
        return self
