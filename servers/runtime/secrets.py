"""Redeeming leases of secrets where a provider is called (§26), whichever backend keeps the secret.

Imported by owners that call providers; `redeemer` makes what they call. A lease is checked in the store on every
redemption, so that a revocation holds from the next call on. Nothing here keeps a secret.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, Protocol, Self
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator

from servers.runtime.clock import Clock
from servers.runtime.config import Settings
from servers.runtime.storage import SYSTEM_TENANT, turn
from store import Rooms, SealBroken, Store, StoreError, Transaction, WrongMasterKey
from store.kms import Leased, LeaseFault, LeaseRefused

SETTINGS_OF: Final = "kms"
"""The owner whose settings say where secrets are kept."""
AUDITED_AS: Final = "PH1.KMS"
"""Redemptions are in the trail of the owner that issued the lease."""
COUNTED_EVERY_S: Final = 60.0

_log = structlog.get_logger("selene.secrets")


class Silence(StrEnum):
    """Why a backend gave nothing: all that is ever said of it, because its own words may hold anything."""

    NO_CREDENTIAL = "NO_CREDENTIAL"
    """The file with the token, or one of the two of the AppRole, is not to be read or is empty."""
    UNREACHABLE = "UNREACHABLE"
    """No connection, a connection that broke, or a certificate that is not trusted."""
    NO_ANSWER = "NO_ANSWER"
    """Not within the time that was given."""
    SEALED = "SEALED"
    """It answered that it is sealed, or out of service."""
    DENIED = "DENIED"
    """It does not accept the credential, or grants it too little."""
    REFUSED = "REFUSED"
    """Any other refusal, such as a mount that is not there."""
    MALFORMED = "MALFORMED"
    """An answer that is not of its protocol."""
    NOT_CONFIGURED = "NOT_CONFIGURED"
    """It keeps versions, and the settings do not name it."""


class BackendUnavailable(Exception):
    """The backend gave nothing. The text is the cause and nothing of what was asked or answered."""

    def __init__(self, cause: Silence) -> None:
        super().__init__(cause.value)
        self.cause = cause


class VersionGone(Exception):
    """The backend keeps this version no more."""


class OpenBaoSettings(BaseModel):
    """An OpenBao or HashiCorp Vault: a KV v2 mount, and a credential that lies in files.

    The credential of the secrets owner needs the default policy, `create` and `update` on `<mount>/data/<path>/*` and
    `update` on `<mount>/destroy/<path>/*`; that of a process that redeems needs `read` on `<mount>/data/<path>/*`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(description="https://host:port; http on loopback only")
    mount: str = Field(default="secret", min_length=1, description="where the KV v2 engine is mounted")
    path: str = Field(default="selene", min_length=1, description="the folder of it that is this deployment's")
    namespace: str = ""
    ca_file: Path | None = Field(default=None, description="PEM of who signed its certificate; unset: public ones")
    token_file: Path | None = Field(default=None, description="holds a token; re-read when that is no longer accepted")
    role_id_file: Path | None = Field(default=None, description="AppRole, with `secret_id_file`, instead of a token")
    secret_id_file: Path | None = None
    approle_mount: str = Field(default="approle", min_length=1)
    timeout_s: float = Field(default=2.0, gt=0, le=30, description="for one request, its login included")
    threads: int = Field(default=4, ge=1, le=64, description="requests at once")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        where = urlsplit(self.address)
        if where.scheme not in ("http", "https") or not where.hostname or where.path.strip("/") or where.query:
            raise ValueError("`address` is https://host:port")
        if where.username is not None or where.password is not None:
            raise ValueError("`address` holds no credential")
        if where.scheme == "http" and not _is_loopback(where.hostname):
            raise ValueError("`address` beyond loopback is https")
        if (self.role_id_file is None) != (self.secret_id_file is None):
            raise ValueError("`role_id_file` and `secret_id_file` come together")
        if (self.token_file is None) == (self.role_id_file is None):
            raise ValueError("`token_file`, or `role_id_file` and `secret_id_file`")
        return self


class SecretsSettings(BaseModel):
    """`owners.kms`: where the versions of secrets are kept. Every process that redeems needs the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["local", "openbao"] = Field(default="local", description="keeps what is put from now on")
    openbao: OpenBaoSettings | None = Field(default=None, description="needed while it keeps a version")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.backend == "openbao" and self.openbao is None:
            raise ValueError("`backend` openbao needs the section `openbao`")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Keeper(Protocol):
    """A backend that keeps versions outside of the store, as far as redeeming needs it."""

    async def read(self, handle: str, version: int) -> bytes:
        """The secret of the version with this number of the backend's. BackendUnavailable, VersionGone."""

    async def close(self) -> None:
        """Let go of every connection and thread."""


def keeper(settings: SecretsSettings) -> Keeper | None:
    """The configured backend beside the store; None where there is none. ModuleNotFoundError without hvac."""
    if settings.openbao is None:
        return None
    from servers.runtime.openbao import OpenBao  # hvac is an extra, which the local backend does without

    return OpenBao(settings.openbao)


def redeemer(settings: Settings, store: Store, clock: Clock) -> Redeemer:
    """What an owner redeems its leases with; to be closed before the store. ConfigError."""
    return Redeemer(store, clock, keeper(settings.owner_settings(SETTINGS_OF, SecretsSettings)))


class Redeemer:
    """Turns a lease into its secret, for the one call that needs it.

    The first redemption of a lease and every refused one are audited before the caller hears of them; the others are
    counted in the lease, once a minute and at the end.
    """

    def __init__(self, store: Store, clock: Clock, keeper: Keeper | None) -> None:
        self._store = store
        self._clock = clock
        self._keeper = keeper
        self._used: dict[str, datetime] = {}
        self._uncounted: Counter[str] = Counter()
        self._counting: asyncio.Task[None] | None = None

    async def redeem(self, lease_ref: str) -> bytes:
        """The secret: never logged, never kept.

        LeaseRefused and BackendUnavailable say why not; StoreUnavailable where that cannot even be written down;
        WrongMasterKey, SealBroken.
        """
        now = self._clock.now()
        presented: Leased | None = None

        async def opened(rooms: Rooms) -> tuple[Leased, bytes | None]:
            nonlocal presented
            presented = found = await rooms.kms.presented(lease_ref, now)
            return found, await rooms.kms.opened(found) if found.backend_version is None else None

        try:
            leased, kept_here = await self._store.together(opened)
            secret = await self._read(lease_ref, leased) if kept_here is None else kept_here
        except LeaseRefused as refused:
            await self._note_refusal(refused.fault.value, refused.leased)
            raise
        except BackendUnavailable as silent:
            await self._note_refusal("SECRET_BACKEND_UNAVAILABLE", presented, cause=silent.cause.value)
            raise
        except (SealBroken, WrongMasterKey) as broken:
            await self._note_refusal("SECRET_UNREADABLE", presented, cause=type(broken).__name__)
            raise
        await self._note_use(leased)
        return secret

    async def flush(self) -> None:
        """Write down how often leases were redeemed. StoreUnavailable: then nothing is lost, and counted later."""
        counts, self._uncounted = self._uncounted, Counter()
        now = self._clock.now()
        self._used = {lease_id: ends for lease_id, ends in self._used.items() if ends > now}
        if not counts:
            return
        try:
            async with self._store.transaction() as tx:
                await tx.kms.leases.count_redemptions(counts)
                facts = {"leases": str(len(counts)), "redemptions": str(counts.total())}
                _note(tx, "leases.counted", "REDEEMED", facts)
        except BaseException:
            self._uncounted.update(counts)
            raise

    async def close(self) -> None:
        """Count a last time and let go of the backend."""
        if self._counting is not None:
            self._counting.cancel()
            # What it had begun to write down is counted again once it has given up.
            await asyncio.wait([self._counting])
        try:
            await self._flush_or_log()
        finally:
            if self._keeper is not None:
                await self._keeper.close()

    async def _read(self, lease_ref: str, leased: Leased) -> bytes:
        if self._keeper is None or leased.backend_version is None:
            raise BackendUnavailable(Silence.NOT_CONFIGURED)
        try:
            secret = await self._keeper.read(leased.handle, leased.backend_version)
        except VersionGone:
            raise LeaseRefused(LeaseFault.VERSION_GONE, leased) from None
        # Reading may have taken a while, and a revocation does not wait for it.
        await self._store.kms.presented(lease_ref, self._clock.now())
        return secret

    async def _note_use(self, leased: Leased) -> None:
        if leased.lease_id not in self._used:
            now = self._clock.now()
            async with self._store.transaction() as tx:
                first = await tx.kms.leases.first_redeemed(leased.lease_id, now)
                if first:
                    _note(tx, "lease.redeemed", "FIRST_USE", _facts(leased))
            self._used[leased.lease_id] = leased.expires_at
            if first:
                return
        self._uncounted[leased.lease_id] += 1
        if self._counting is None:
            self._counting = asyncio.ensure_future(self._count())

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(COUNTED_EVERY_S)
            await self._flush_or_log()

    async def _flush_or_log(self) -> None:
        try:
            await self.flush()
        except StoreError as error:
            _log.error("redemptions were not counted", cause=type(error).__name__)

    async def _note_refusal(self, reason_code: str, leased: Leased | None, **facts: str) -> None:
        async with self._store.transaction() as tx:
            _note(tx, "lease.refused", reason_code, {**_facts(leased), **facts})


def _note(tx: Transaction, transition: str, reason_code: str, facts: dict[str, str]) -> None:
    tx.audit(
        tenant_id=SYSTEM_TENANT,
        owner=AUDITED_AS,
        actor="system",
        transition=transition,
        reason_code=reason_code,
        turn=turn(),
        facts=facts,
    )


def _facts(leased: Leased | None) -> dict[str, str]:
    """What the trail says of a lease. Of a reference that was none, nothing: it may be a secret in the wrong place."""
    if leased is None:
        return {}
    return {
        "handle": leased.handle,
        "owner": leased.owner,
        "version": str(leased.version),
        "lease_id": leased.lease_id,
    }
