"""Quota buckets in Valkey: one script does what `gates.take` does, for all processes at once.

A change is sent once and never again: one whose answer is lost may have happened, and its tokens are nobody's. After a
failure Valkey is left alone for a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from valkey.asyncio import Valkey
from valkey.credentials import CredentialProvider
from valkey.exceptions import AuthenticationError, ValkeyError

from servers.routing.buckets import TLS, Change, Changed, ValkeySettings
from servers.routing.circuit import CLOCK_SKEW_S

KEY: Final = "selene:quota:{tenant}:{domain}"
PAUSE_S: Final = 1.0
SAY_EVERY_S: Final = 60.0
NEVER: Final = b"never"

# Numbers come and go as text of 17 digits, which is exactly the double that it was.
SCRIPT: Final = """
local now, capacity, refill, revision = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local put, once, take, skew = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'capacity', 'refill', 'revision', 'once')
local tokens, at, seen = tonumber(kept[1] or 0), tonumber(kept[2] or now), tonumber(kept[6] or 0)
local was_capacity, was_refill = tonumber(kept[3] or capacity), tonumber(kept[4] or refill)
local was_revision = tonumber(kept[5] or revision)

local there = math.min(was_capacity, tokens + math.max(0, now - at) * math.max(0, was_refill))
if now < at - skew then at = now else at = math.max(now, at) end
if revision < was_revision then
  capacity, refill, revision = was_capacity, was_refill, was_revision
end
there = math.min(capacity, there)

if put > 0 and (once == 0 or once > seen) then there = math.min(capacity, there + put) end
seen = math.max(seen, once)

local wait = 'never'
if take >= 0 and take <= capacity then
  if take <= there then
    there, wait = there - take, '0'
  elseif refill > 0 then
    wait = string.format('%.17g', (take - there) / refill)
  end
end

local function text(number) return string.format('%.17g', number) end
redis.call('HSET', KEYS[1], 'tokens', text(there), 'at', text(at), 'capacity', text(capacity),
  'refill', text(refill), 'revision', text(revision), 'once', text(seen))
return {text(there), text(at), wait}
"""

_log = structlog.get_logger("selene.routing")


class _Password(CredentialProvider):
    """Reads the file for every connection, so that a password can be replaced."""

    def __init__(self, username: str, file: Path) -> None:
        self._username = username
        self._file = file

    def get_credentials(self) -> tuple[str, str]:
        """Both parts. AuthenticationError where the file cannot be read."""
        try:
            return self._username, self._file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AuthenticationError(f"no password: {type(error).__name__}") from None


class ValkeyBuckets:
    """`Buckets` in one Valkey."""

    def __init__(self, settings: ValkeySettings, monotonic: Callable[[], float]) -> None:
        tls: dict[str, Any] = {}
        if settings.url.startswith(f"{TLS}:"):
            ca_file = None if settings.ca_file is None else str(settings.ca_file)
            tls = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": ca_file}
        password = settings.password_file
        self._client = Valkey.from_url(
            settings.url,
            credential_provider=None if password is None else _Password(settings.username, password),
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            retry=None,
            retry_on_timeout=False,
            **tls,
        )
        self._timeout_s = settings.timeout_s
        self._monotonic = monotonic
        self._silent = False
        self._failed_at = self._said_at = -SAY_EVERY_S

    async def change(self, changes: Sequence[Change]) -> list[Changed | None]:
        """As `Buckets` has it."""
        if not changes:
            return []
        unknown: list[Changed | None] = [None] * len(changes)
        if self._silent and self._monotonic() - self._failed_at < PAUSE_S:
            return unknown
        try:
            answers = await self._exchange(changes)
        except (ValkeyError, OSError, TimeoutError) as error:
            self._fails(error)
            return unknown
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        if failed:
            self._fails(failed[0])
        # One bucket that is damaged does not silence the others.
        self._silent = len(failed) == len(answers)
        return [None if isinstance(answer, Exception) else _changed(answer) for answer in answers]

    async def close(self) -> None:
        """As `Buckets` has it."""
        await self._client.aclose()

    async def _exchange(self, changes: Sequence[Change]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for change in changes:
            pipeline.eval(
                SCRIPT,
                1,
                KEY.format(tenant=change.tenant_id, domain=int(change.domain)),
                repr(change.now),
                repr(change.capacity),
                repr(change.refill_per_s),
                change.revision,
                repr(change.put),
                change.once,
                repr(change.take),
                repr(CLOCK_SKEW_S),
            )
        # The client closes a connection whose read was broken off: a late answer is not taken for that of the next.
        async with asyncio.timeout(self._timeout_s):
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _fails(self, error: Exception) -> None:
        now = self._monotonic()
        self._silent, self._failed_at = True, now
        if now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            _log.warning("quota buckets cannot be reached: quotas end with what is held", cause=type(error).__name__)


def _changed(answer: Sequence[bytes]) -> Changed:
    tokens, at, wait = answer
    return Changed(float(tokens), float(at), None if wait == NEVER else float(wait))
