"""The secrets of one owner's providers, under leases that are asked for ahead of the calls (§26).

Which handle a provider has is the routing profile's to say. Every two seconds what is known of these secrets is looked
at; a lease is asked of the secrets owner, over its contract, where there is none for the newest version or the one
there ends soon. A call redeems the lease, and what it gets is gone with the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import grpc
import structlog
from selene.kms.v1 import service_pb2 as kms
from selene.kms.v1 import service_pb2_grpc as kms_grpc
from selene.kms.v1.kms_pb2 import SECRET_STATE_ACTIVE

from servers.routing.credentials import Credential, CredentialUnavailable
from servers.runtime.clock import Clock
from servers.runtime.ids import Ids
from servers.runtime.peers import Peer
from servers.runtime.secrets import BackendUnavailable, Redeemer
from store import Store, StoreError
from store.kms import LeaseRefused

LOOK_EVERY_S: Final = 2.0
RENEW_BEFORE: Final = timedelta(seconds=60)
ASK_AGAIN_AFTER: Final = timedelta(seconds=60)
CALL_S: Final = 5.0

_log = structlog.get_logger("selene.routing")

Handles = Callable[[], Mapping[str, str]]
"""The handle of each provider of the owner that needs a secret, by the active profile."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease of a version."""

    version: int
    reference: str
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class _Denied:
    """A version that no lease was to be had of."""

    version: int
    at: datetime


class Issuer(Protocol):
    """Who gives out leases."""

    async def issue(self, handle: str, owner: str) -> tuple[str, datetime] | None:
        """A reference and when it ends; None where it is denied or nobody answers."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


class Leases:
    """The leases of one owner. `owner` is its engine, such as `PH1.C`."""

    def __init__(self, store: Store, clock: Clock, redeemer: Redeemer, issuer: Issuer, owner: str) -> None:
        self._store = store
        self._clock = clock
        self._redeemer = redeemer
        self._issuer = issuer
        self._owner = owner
        self._handles: Handles = dict
        self._held: dict[str, _Held] = {}
        self._denied: dict[str, _Denied] = {}
        self._task: asyncio.Task[None] | None = None

    def credential(self, provider_ref: str) -> Credential:
        """The secret of a provider, whatever its handle and its lease are when it is asked for."""
        return _Leased(self, provider_ref)

    def missing(self) -> Collection[str]:
        """Providers that need a secret and have no lease of one now."""
        return [ref for ref, handle in self._handles().items() if handle not in self._held]

    async def start(self, handles: Handles) -> None:
        """Look once, then every two seconds until `stop`."""
        self._handles = handles
        await self.renew()
        self._task = asyncio.ensure_future(self._repeat())

    async def stop(self) -> None:
        """Never look again; leases end by themselves."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redeemer.close()
        await self._issuer.close()

    async def renew(self) -> None:
        """One look at every secret."""
        handles = set(self._handles().values())
        for gone in self._held.keys() - handles:
            del self._held[gone]
        for handle in sorted(handles):
            try:
                await self._renew(handle)
            except StoreError as error:
                _log.warning("a secret could not be looked at", handle=handle, cause=type(error).__name__)

    async def reveal(self, provider_ref: str) -> str:
        """The secret, for one call. CredentialUnavailable."""
        held = self._held.get(self._handles().get(provider_ref, ""))
        if held is None:
            raise CredentialUnavailable("there is no lease of it")
        try:
            return (await self._redeemer.redeem(held.reference)).decode()
        except LeaseRefused as refused:
            raise CredentialUnavailable(refused.fault.value) from None
        except (BackendUnavailable, StoreError) as error:
            raise CredentialUnavailable(type(error).__name__) from None
        except UnicodeDecodeError:
            raise CredentialUnavailable("it is not text") from None

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.renew()
            except Exception:
                # Whatever it was, the leases that are there still serve.
                _log.exception("leases were not renewed")

    async def _renew(self, handle: str) -> None:
        secret, now = await self._store.kms.secrets.get(handle), self._clock.now()
        if secret is None or secret.state != SECRET_STATE_ACTIVE:
            self._held.pop(handle, None)
            return
        held, denied = self._held.get(handle), self._denied.get(handle)
        if held is not None and held.version == secret.version and now < held.ends_at - RENEW_BEFORE:
            return
        if denied is not None and denied.version == secret.version and now < denied.at + ASK_AGAIN_AFTER:
            return
        issued = await self._issuer.issue(handle, self._owner)
        if issued is None:
            self._denied[handle] = _Denied(secret.version, now)
            if held is not None and held.ends_at <= now:
                del self._held[handle]
            return
        self._held[handle] = _Held(secret.version, *issued)
        self._denied.pop(handle, None)


class _Leased:
    """See `servers.routing.credentials.Credential`."""

    def __init__(self, leases: Leases, provider_ref: str) -> None:
        self._leases = leases
        self._provider_ref = provider_ref

    async def reveal(self) -> str:
        return await self._leases.reveal(self._provider_ref)


class SecretsOwner:
    """Asks the secrets owner. `peer` says where it is and by which token; None where nobody configured one."""

    def __init__(self, peer: Callable[[], Peer | None], ids: Ids) -> None:
        self._peer = peer
        self._ids = ids
        self._channel: grpc.aio.Channel | None = None

    async def issue(self, handle: str, owner: str) -> tuple[str, datetime] | None:
        """See `Issuer`."""
        peer = self._peer()
        if peer is None:
            return None
        if self._channel is None:
            self._channel = peer.channel()
        request = kms.IssueLeaseRequest(handle=handle, owner=owner, idempotency_key=self._ids.new())
        stub = kms_grpc.SecretsServiceStub(self._channel)
        try:
            reply = await stub.IssueLease(request, metadata=peer.metadata(), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            # The details name the handle at most; the reference exists only in a reply.
            _log.warning("no lease", handle=handle, code=error.code().name, details=error.details())
            return None
        return reply.lease_ref, reply.lease.expires_at.ToDatetime(tzinfo=UTC)

    async def close(self) -> None:
        """See `Issuer`."""
        if self._channel is not None:
            await self._channel.close()
