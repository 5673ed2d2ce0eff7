"""What an operator may configure of an account that sends mail. No secret: those are under handles."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from servers.routing.endpoints import check_base_url

_ADDRESS = r"^[^@\s\x00-\x1f<>,;]+@[A-Za-z0-9.-]+$"
_NAME = r"^[^\x00-\x1f\x7f]*$"
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_HOST = r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:]+)$"


class SmtpSettings(BaseModel):
    """An account at a mail server. ``user`` is unset where the secret is ``user:password``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(pattern=_HOST, max_length=253)
    port: int = Field(default=587, ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = Field(default="starttls", description="`none` on loopback only")
    sender: str = Field(
        pattern=_ADDRESS, max_length=320, description="the address that sends where a message names none"
    )
    sender_name: str = Field(default="", pattern=_NAME, max_length=128)
    needs_secret: bool = Field(default=True, description="off: the server takes mail without a login")
    user: str = Field(default="", pattern=_NAME, max_length=320)
    ehlo_name: str = Field(
        default="localhost", pattern=_HOST, max_length=253, description="how this machine names itself"
    )
    message_id_domain: str = Field(
        default="", pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$", max_length=253, description="unset: the sender's"
    )
    ca_file: str = Field(default="", description="certificates that sign the server's; unset: the system's")
    max_connections: int = Field(default=10, ge=1, le=1000)
    idle_s: float = Field(default=30.0, ge=0, le=600, description="how long a connection is kept for the next mail")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.security == "none" and not _is_loopback(self.host):
            raise ValueError("`security` is `none` on loopback only, or mail and password would be read on the way")
        if not _DOMAIN.fullmatch(self.id_domain):
            raise ValueError("`sender` has a domain, or `message_id_domain` names one")
        return self

    @property
    def id_domain(self) -> str:
        """The domain of every Message-ID, in ASCII and lower case."""
        return self.message_id_domain or self.sender.rpartition("@")[2].lower()


class _HttpMailSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sender: str = Field(
        pattern=_ADDRESS, max_length=320, description="the address that sends where a message names none"
    )
    sender_name: str = Field(default="", pattern=_NAME, max_length=128)
    base_url: str = ""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        check_base_url(self.base_url, keyed=True)
        return self


class ResendSettings(_HttpMailSettings):
    """An account at Resend. The sender's domain is one that the account has verified."""

    base_url: str = "https://api.resend.com"


class SendGridSettings(_HttpMailSettings):
    """An account at SendGrid. The sender is one that the account has verified."""

    base_url: str = "https://api.sendgrid.com"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
