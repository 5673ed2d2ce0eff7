"""The secrets of one owner's providers, under leases that are asked for ahead of the calls (§26).

Which handle a provider has is the routing profile's to say. Every two seconds what is known of these secrets is looked
at; a lease is asked of the secrets owner, over its contract, where there is none for the newest version or the one
there ends soon. A call redeems the lease, and what it gets is gone with the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import grpc
import structlog
from selene.kms.v1 import service_pb2 as kms
from selene.kms.v1 import service_pb2_grpc as kms_grpc
from selene.kms.v1.kms_pb2 import SECRET_STATE_ACTIVE

from servers.routing.credentials import Credential, CredentialUnavailable
from servers.routing.selection import Unconfigured
from servers.runtime.clock import Clock
from servers.runtime.ids import Ids
from servers.runtime.peers import Peer, TokenUnusable
from servers.runtime.secrets import BackendUnavailable, Redeemer
from store import Store, StoreError
from store.kms import LeaseRefused, Secret

LOOK_EVERY_S: Final = 2.0
RENEW_BEFORE: Final = timedelta(seconds=60)
ASK_AGAIN_AFTER: Final = timedelta(seconds=60)
"""After a denial; after silence it is asked again sooner, and ever less often up to this."""
CALL_S: Final = 5.0
LONGEST: Final = timedelta(minutes=60)
"""How long leases of secrets are asked for that others use: renewed at half of that, each lasts half an hour yet."""

_log = structlog.get_logger("selene.routing")

Handles = Callable[[], Mapping[str, str]]
"""The handle of each provider of the owner that needs a secret, by the active profile."""

_NO_ANSWER: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
    }
)
"""What may be otherwise in a moment; a token that is not accepted may be on its way to be replaced."""

Ready = Callable[[str], None]
"""Hears that a provider can be asked from now on."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A lease of a version. The reference is as good as the secret to whoever holds the store."""

    version: int
    reference: str = field(repr=False)
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class _PutOff:
    """A version that no lease was to be had of, and from when on it is asked for again, monotonic seconds."""

    version: int
    until: float
    silences: int


class NotIssued(Exception):
    """No lease. `denied`: whoever gives them out said no, and will say so again."""

    def __init__(self, *, denied: bool) -> None:
        super().__init__("denied" if denied else "no answer")
        self.denied = denied


class Issuer(Protocol):
    """Who gives out leases."""

    async def issue(self, handle: str, owner: str, ttl: timedelta | None = None) -> Issued:
        """A lease, for so long; None means as long as whoever gives it out wants. NotIssued."""
        ...


class Leases:
    """The leases of one owner. `owner` is its engine, such as `PH1.C`.

    A secret that could not be had is not tried again before the next look: its provider counts as not configured until
    then, so that what is revoked or out of reach costs one call and one row of the trail, not one of each per call.
    """

    def __init__(self, store: Store, clock: Clock, redeemer: Redeemer, issuer: Issuer, owner: str) -> None:
        self._store = store
        self._clock = clock
        self._redeemer = redeemer
        self._issuer = issuer
        self._owner = owner
        self._handles: Handles = dict
        self._ready: Ready = _nobody
        self._held: dict[str, Issued] = {}
        self._before: dict[str, Issued] = {}
        self._overlapping: frozenset[str] = frozenset()
        self._put_off: dict[str, _PutOff] = {}
        self._failing: set[str] = set()
        self._causes: dict[str, Unconfigured] = {}
        self._task: asyncio.Task[None] | None = None

    def credential(self, provider_ref: str) -> Credential:
        """The secret of a provider, whatever its handle and its lease are when it is asked for."""
        return _Leased(self, provider_ref)

    def overlap(self, provider_refs: Collection[str]) -> None:
        """Keep the lease of the version before of these, as long as it lasts: others sign with them."""
        self._overlapping = frozenset(provider_refs)

    def missing(self) -> Mapping[str, Unconfigured]:
        """Providers that need a secret and have none to be had now, and why."""
        return {
            ref: Unconfigured.SECRET_UNREADABLE
            if handle in self._held
            else self._causes.get(handle, Unconfigured.NO_SECRET)
            for ref, handle in self._handles().items()
            if handle not in self._held or handle in self._failing
        }

    async def start(self, handles: Handles, ready: Ready | None = None) -> None:
        """Look once, then every two seconds until `stop`. `ready` hears of each provider that has a secret now and had
        none before.
        """
        self._handles = handles
        self._ready = ready or _nobody
        await self.renew()
        self._task = asyncio.ensure_future(self._repeat())

    async def stop(self) -> None:
        """Never look again; leases end by themselves."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redeemer.close()

    async def renew(self) -> None:
        """One look at every secret."""
        handles = set(self._handles().values())
        for known in (self._held, self._before, self._put_off, self._causes):
            for gone in known.keys() - handles:
                del known[gone]
        self._failing.clear()
        await asyncio.gather(*(self._looked_at(handle) for handle in sorted(handles)))

    async def let_go(self) -> None:
        """Let go at once of what was revoked since the last look; no lease is asked for."""
        for handle in sorted(self._held):
            try:
                await self._active(handle)
            except StoreError as error:
                _log.warning("a secret could not be looked at", handle=handle, cause=type(error).__name__)
                return

    async def reveal(self, provider_ref: str) -> str:
        """The secret, for one call. CredentialUnavailable."""
        handle = self._handles().get(provider_ref, "")
        held = self._held.get(handle)
        if held is None:
            raise CredentialUnavailable("there is no lease of it")
        try:
            return (await self._redeemer.redeem(held.reference)).decode()
        except LeaseRefused as refused:
            if self._held.get(handle) is held:
                del self._held[handle]
                self._causes[handle] = Unconfigured.LEASE_DENIED
            raise CredentialUnavailable(refused.fault.value) from None
        except (BackendUnavailable, StoreError) as error:
            self._failing.add(handle)
            raise CredentialUnavailable(type(error).__name__) from None
        except UnicodeDecodeError:
            self._failing.add(handle)
            raise CredentialUnavailable("it is not text") from None

    async def reveal_before(self, provider_ref: str) -> str | None:
        """The version before, as long as its lease and its overlap last; None where there is none to be had."""
        handle = self._handles().get(provider_ref, "")
        before = self._before.get(handle)
        if before is None:
            return None
        try:
            return (await self._redeemer.redeem(before.reference)).decode()
        except LeaseRefused:
            if self._before.get(handle) is before:
                del self._before[handle]
        except (BackendUnavailable, StoreError, UnicodeDecodeError) as error:
            _log.warning("the secret before could not be had", handle=handle, cause=type(error).__name__)
        return None

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.renew()
            except Exception as error:
                # Whatever it was, the leases that are there still serve. Its text may hold what was sent.
                _log.error("leases were not renewed", cause=type(error).__name__)

    async def _looked_at(self, handle: str) -> None:
        try:
            await self._renew(handle)
        except StoreError as error:
            _log.warning("a secret could not be looked at", handle=handle, cause=type(error).__name__)

    async def _active(self, handle: str) -> Secret | None:
        """What is known of the secret; where it is not to be had any more, nothing of it is held."""
        secret = await self._store.kms.secrets.get(handle)
        if secret is not None and secret.state == SECRET_STATE_ACTIVE:
            return secret
        for known in (self._held, self._before, self._put_off, self._causes):
            known.pop(handle, None)
        return None

    async def _renew(self, handle: str) -> None:
        secret = await self._active(handle)
        if secret is None:
            return
        held, put_off = self._held.get(handle), self._put_off.get(handle)
        now = self._clock.now()
        if handle in self._before and self._before[handle].ends_at <= now:
            del self._before[handle]
        ahead = LONGEST / 2 if self._overlaps(handle) else RENEW_BEFORE
        if held is not None and held.version >= secret.version and now < held.ends_at - ahead:
            return
        if put_off is None or put_off.version != secret.version or self._clock.monotonic() >= put_off.until:
            await self._ask(handle, secret.version)
        held = self._held.get(handle)
        if held is not None and held.ends_at <= now:
            del self._held[handle]

    def _overlaps(self, handle: str) -> bool:
        return any(its == handle and ref in self._overlapping for ref, its in self._handles().items())

    async def _ask(self, handle: str, version: int) -> None:
        had = self._held.get(handle)
        overlaps = self._overlaps(handle)
        try:
            issued = await self._issuer.issue(handle, self._owner, LONGEST if overlaps else None)
        except NotIssued as why:
            self._causes[handle] = Unconfigured.LEASE_DENIED if why.denied else Unconfigured.NO_SECRETS_OWNER
            before = self._put_off.get(handle)
            silences = before.silences + 1 if before is not None and not why.denied else 1
            after_s = ASK_AGAIN_AFTER.total_seconds()
            if not why.denied:
                after_s = min(after_s, LOOK_EVERY_S * 2 ** (silences - 1))
            self._put_off[handle] = _PutOff(version, self._clock.monotonic() + after_s, silences)
            return
        self._held[handle] = issued
        self._put_off.pop(handle, None)
        self._causes.pop(handle, None)
        if overlaps and had is not None and had.version < issued.version:
            self._before[handle] = had
        if had is None:
            for provider_ref in [ref for ref, its in self._handles().items() if its == handle]:
                self._ready(provider_ref)


def _nobody(provider_ref: str) -> None:
    """Nobody wants to know."""


class _Leased:
    """See `servers.routing.credentials.Overlapping`."""

    def __init__(self, leases: Leases, provider_ref: str) -> None:
        self._leases = leases
        self._provider_ref = provider_ref

    async def reveal(self) -> str:
        return await self._leases.reveal(self._provider_ref)

    async def reveal_before(self) -> str | None:
        return await self._leases.reveal_before(self._provider_ref)


class SecretsOwner:
    """Asks the secrets owner. `peer` says where it is and by which token; None where there is none."""

    def __init__(self, peer: Callable[[], Peer | None], ids: Ids) -> None:
        self._peer = peer
        self._ids = ids

    async def issue(self, handle: str, owner: str, ttl: timedelta | None = None) -> Issued:
        """See `Issuer`."""
        peer = self._peer()
        if peer is None:
            _log.warning("no lease", handle=handle, cause="there is no secrets owner")
            raise NotIssued(denied=False)
        request = kms.IssueLeaseRequest(handle=handle, owner=owner, idempotency_key=self._ids.new())
        if ttl is not None:
            request.ttl.FromTimedelta(ttl)
        try:
            metadata = peer.metadata()
            # A connection for each: one that is kept for minutes may be dead without a word, and gRPC's own waits
            # before it connects again grow to two minutes.
            async with peer.channel() as channel:
                stub = kms_grpc.SecretsServiceStub(channel)
                reply = await stub.IssueLease(request, metadata=metadata, timeout=CALL_S)
        except TokenUnusable as unusable:
            _log.warning("no lease", handle=handle, cause=str(unusable))
            raise NotIssued(denied=False) from None
        except grpc.aio.AioRpcError as error:
            # Without its details: of what is not the secrets owner they may say anything.
            _log.warning("no lease", handle=handle, cause=error.code().name)
            raise NotIssued(denied=error.code() not in _NO_ANSWER) from None
        return Issued(reply.lease.version, reply.lease_ref, reply.lease.expires_at.ToDatetime(tzinfo=UTC))
