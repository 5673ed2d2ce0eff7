"""The secrets owner from the client's side: put, rotate, revoke, lease. A secret is sealed before it leaves here."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from selene.kms.v1 import service_pb2 as wire
from selene.kms.v1 import service_pb2_grpc as rpc
from selene_messages.selene.common.v1 import PageRequest
from selene_messages.selene.kms import v1

from clients.calls import D, UnaryMethod, ask
from clients.channel import Connection
from clients.retry import RetryPolicy
from clients.voiceid import CALL_TIMEOUT
from clients.wire import to_wire

MAX_SECRET_BYTES: Final = 16_384
_INFO: Final = b"selene.kms.v1.SealedSecret"
_NONCE: Final = bytes(12)


class SecretUnusable(ValueError):
    """Not 1 to 16,384 bytes. The text says nothing of the secret but its length."""


def seal(
    secret: bytes,
    handle: str,
    *,
    sealing_key_id: str,
    public_key: bytes,
    ephemeral: Callable[[], X25519PrivateKey] = X25519PrivateKey.generate,
) -> v1.SealedSecret:
    """The secret encrypted to the server's sealing key and bound to its handle. SecretUnusable.

    ``ephemeral`` makes a key that is used this once; ValueError for a public key that is none.
    """
    if not 1 <= len(secret) <= MAX_SECRET_BYTES:
        raise SecretUnusable(f"a secret has 1 to {MAX_SECRET_BYTES} bytes, this one has {len(secret)}")
    once = ephemeral()
    own = once.public_key().public_bytes_raw()
    shared = once.exchange(X25519PublicKey.from_public_bytes(public_key))
    key = HKDF(hashes.SHA256(), length=32, salt=own + public_key, info=_INFO).derive(shared)
    return v1.SealedSecret(
        sealing_key_id=sealing_key_id,
        ephemeral_public_key=own,
        ciphertext=AESGCM(key).encrypt(_NONCE, secret, handle.encode()),
    )


class Secrets:
    """The SecretsService over one connection.

    Putting and revoking need role `deployment-operator`; the rest that, or role `service` of the deployment's own
    tenant, `system`. Such a service evaluates, leases and ends for itself only: its token's subject is the owner, such
    as `PH1.C`. Every method raises SeleneError; mutations take an ``idempotency_key``, or make one, so that they are
    retried safely.
    """

    def __init__(
        self, connection: Connection, *, policy: RetryPolicy | None = None, timeout: float = CALL_TIMEOUT
    ) -> None:
        self._connection = connection
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        self._stub = rpc.SecretsServiceStub(connection.channel)

    async def sealing_key(self) -> v1.GetSealingKeyResponse:
        """The key to seal to, how long leases last, and what holds the secrets."""
        return await self._ask(self._stub.GetSealingKey, wire.GetSealingKeyRequest(), v1.GetSealingKeyResponse)

    async def put(
        self,
        handle: str,
        secret: bytes,
        *,
        environment: v1.Environment,
        granted_owners: Sequence[str],
        overlap: timedelta | None = None,
        idempotency_key: str = "",
    ) -> v1.SecretInfo:
        """Put the first version, or the next one; leases of the version before live on for ``overlap``.

        SecretUnusable. A key that is given again needs the same sealed bytes, so it repeats only what this call sends.
        """
        key = await self.sealing_key()
        message = v1.PutSecretRequest(
            handle=handle,
            environment=environment,
            secret=seal(secret, handle, sealing_key_id=key.sealing_key_id, public_key=key.public_key),
            granted_owners=list(granted_owners),
            overlap=overlap,
            idempotency_key=idempotency_key or _key(),
        )
        reply = await self._ask(self._stub.PutSecret, to_wire(message, wire.PutSecretRequest), v1.PutSecretResponse)
        return reply.secret or v1.SecretInfo()

    async def rotate(
        self, handle: str, secret: bytes, *, overlap: timedelta | None = None, idempotency_key: str = ""
    ) -> v1.SecretInfo:
        """Put the next version of a secret that exists, in the same environment and for the same owners."""
        present = await self.get(handle)
        return await self.put(
            handle,
            secret,
            environment=present.environment,
            granted_owners=present.granted_owners,
            overlap=overlap,
            idempotency_key=idempotency_key,
        )

    async def get(self, handle: str) -> v1.SecretInfo:
        """What is known of a secret."""
        reply = await self._ask(self._stub.GetSecret, wire.GetSecretRequest(handle=handle), v1.GetSecretResponse)
        return reply.secret or v1.SecretInfo()

    async def list(self, *, page_size: int = 100) -> AsyncIterator[v1.SecretInfo]:
        """What is known of every secret, by handle."""
        page_token = ""
        while True:
            message = v1.ListSecretsRequest(page=PageRequest(page_size=page_size, page_token=page_token))
            request = to_wire(message, wire.ListSecretsRequest)
            reply = await self._ask(self._stub.ListSecrets, request, v1.ListSecretsResponse)
            for secret in reply.secrets:
                yield secret
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def revoke(self, handle: str, reason: str, *, idempotency_key: str = "") -> v1.RevokeSecretResponse:
        """End a secret and every lease of it now, for good, also while the backend that keeps it is silent."""
        request = wire.RevokeSecretRequest(handle=handle, reason=reason, idempotency_key=idempotency_key or _key())
        return await self._ask(self._stub.RevokeSecret, request, v1.RevokeSecretResponse)

    async def evaluate(self, handle: str, owner: str) -> v1.EvaluateAccessResponse:
        """Whether this owner would get a lease, and why."""
        request = wire.EvaluateAccessRequest(handle=handle, owner=owner)
        return await self._ask(self._stub.EvaluateAccess, request, v1.EvaluateAccessResponse)

    async def lease(
        self, handle: str, owner: str, *, ttl: timedelta | None = None, idempotency_key: str = ""
    ) -> v1.IssueLeaseResponse:
        """A lease for an owner, of 1 s to 1 h, and the reference that redeems it in a process that holds the store."""
        message = v1.IssueLeaseRequest(handle=handle, owner=owner, ttl=ttl, idempotency_key=idempotency_key or _key())
        return await self._ask(self._stub.IssueLease, to_wire(message, wire.IssueLeaseRequest), v1.IssueLeaseResponse)

    async def end_lease(self, lease_id: str, *, idempotency_key: str = "") -> v1.Lease:
        """End a lease before its time: the lease as it ended."""
        request = wire.EndLeaseRequest(lease_id=lease_id, idempotency_key=idempotency_key or _key())
        reply = await self._ask(self._stub.EndLease, request, v1.EndLeaseResponse)
        return reply.lease or v1.Lease()

    async def _ask(self, method: UnaryMethod, request: Any, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)


def _key() -> str:
    return str(uuid.uuid4())
