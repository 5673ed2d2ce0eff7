"""Bearer tokens on the client's side: where they come from and what they say. Nothing here verifies a token."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class TokenUnreadable(ValueError):
    """The token, or the file that should hold it, cannot be read. The text never holds the token."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says about its bearer, unverified; empty where it says nothing."""

    tenant_id: str = ""
    subject: str = ""
    device_id: str = ""
    roles: tuple[str, ...] = ()
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


def read_claims(token: str) -> Claims:
    """Decodes the payload of a JWT; raises TokenUnreadable when it is none."""
    parts = token.split(".")
    try:
        if len(parts) != 3:
            raise ValueError
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if not isinstance(payload, dict):
            raise ValueError
        return Claims(
            tenant_id=str(payload.get("tid", "")),
            subject=str(payload.get("sub", "")),
            device_id=str(payload.get("dev", "")),
            roles=tuple(str(role) for role in payload.get("roles") or ()),
            issued_at=_instant(payload.get("iat")),
            expires_at=_instant(payload.get("exp")),
            raw=payload,
        )
    except (ValueError, TypeError, OverflowError):
        raise TokenUnreadable("this is not a JWT: three base64url parts with a JSON object in the middle") from None


def _instant(seconds: object) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else None


class TokenSource:
    """A token given as it is, or kept in a file that is read again whenever it changes, so that tokens can rotate."""

    def __init__(self, token: str = "", path: Path | None = None) -> None:
        self._token = token.strip()
        self._path = path
        self._stamp: tuple[int, int] | None = None

    @property
    def given(self) -> bool:
        return bool(self._token) or self._path is not None

    def read(self) -> str:
        """The present token; empty when none was given. Raises TokenUnreadable."""
        if self._path is None:
            return self._token
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._token, self._stamp = self._path.read_text(encoding="utf-8").strip(), stamp
        except (OSError, UnicodeDecodeError) as error:
            raise TokenUnreadable(f"token file {self._path}: {type(error).__name__}") from None
        if not self._token:
            raise TokenUnreadable(f"token file {self._path} is empty")
        return self._token
