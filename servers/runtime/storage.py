"""The store as a server holds it: opened from the settings, its errors as refusals, its ledger as the refusals' sink.

Imported by owners that keep state; the rest of the runtime does not know the store.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from google.protobuf.message import Message
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.scope_pb2 import TurnRef

from servers.runtime.audit import RefusedCall
from servers.runtime.auth import Principal, make_data_dir, write_secret
from servers.runtime.clock import Clock
from servers.runtime.config import ConfigError, Settings
from servers.runtime.context import current_correlation
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.ids import Ids
from servers.runtime.peers import SERVICE_TENANT
from store import IdempotencyConflict, Store, StoreUnavailable, Transaction

Reply = TypeVar("Reply", bound=Message)

SIGNING_SEED: Final = "ledger_signing_seed"
MASTER_KEY: Final = "development_master_key"
DATABASE: Final = "selene.db"
SQLITE: Final = "sqlite:///"
KEY_BYTES: Final = 32
SYSTEM_TENANT: Final = SERVICE_TENANT
"""The deployment's own: its chain holds what belongs to no tenant, and refusals of callers who did not prove one."""


def store_url(settings: Settings) -> str:
    """The configured store, or the embedded one of the data folder."""
    return settings.store.url or f"{SQLITE}{settings.data_dir / DATABASE}"


async def open_store(settings: Settings, clock: Clock, ids: Ids) -> Store:
    """The configured store, migrated. ConfigError without a master key outside development; StoreError."""
    make_data_dir(settings.data_dir)
    store = await Store.open(
        store_url(settings),
        clock=clock,
        ids=ids,
        signing_key=_kept(settings.data_dir / SIGNING_SEED),
        master_key=master_key(settings),
        retired_master_keys=retired_master_keys(settings),
    )
    try:
        await store.migrate()
    except BaseException:
        await store.close()
        raise
    return store


def master_key(settings: Settings) -> bytes:
    """32 bytes from the configured file or value; in development one that is made on first use. ConfigError."""
    given = settings.master_key
    if given.file is not None:
        return _decoded(_read(given.file), f"master_key.file {given.file}")
    if given.value is not None:
        return _decoded(given.value.get_secret_value(), "master_key.value")
    if settings.development.enabled:
        return _kept(settings.data_dir / MASTER_KEY)
    raise ConfigError(
        "master_key: give `file` or `value`, 32 random bytes in base64 (openssl rand -base64 32); "
        "what a server in development made is in its data_dir: name that (SELENE_DATA_DIR)"
    )


def retired_master_keys(settings: Settings) -> tuple[bytes, ...]:
    """32 bytes from each file of a key that was replaced. ConfigError."""
    files = settings.master_key.retired_files
    return tuple(_decoded(_read(file), f"master_key.retired_files {file}") for file in files)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _decoded(text: str, name: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{name}: 32 bytes in base64 are wanted (openssl rand -base64 32)")
    return key


def _kept(path: Path) -> bytes:
    """32 random bytes in a file of its owner only, made on first use."""
    if not path.exists():
        with suppress(FileExistsError):  # another process may make it first
            write_secret(path, secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} is damaged: it must hold {KEY_BYTES} bytes")
    return key


@contextmanager
def refusing_store_errors() -> Iterator[None]:
    """StoreUnavailable becomes STORE_UNAVAILABLE, IdempotencyConflict becomes IDEMPOTENCY_KEY_REUSED."""
    try:
        yield
    except StoreUnavailable as error:
        raise Refusal(
            reasons.ERROR_REASON_STORE_UNAVAILABLE,
            "the store refuses or cannot be reached; nothing was changed",
            cause=error.reason.value,
        ) from error
    except IdempotencyConflict as error:
        raise Refusal(
            reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
            "this idempotency key was used before with different content",
            idempotency_key=error.key,
        ) from error


async def once(
    store: Store,
    *,
    tenant_id: str,
    method: str,
    key: str,
    content: bytes,
    reply: type[Reply],
    work: Callable[[Transaction], Awaitable[Reply]],
) -> Reply:
    """Do `work` once for an idempotency key and answer every repetition with the first reply (ALL-4).

    `content` is the request's hash. Refuses with IDEMPOTENCY_KEY_REUSED and STORE_UNAVAILABLE; what `work` raises
    undoes everything and leaves the key unused.
    """
    with refusing_store_errors():
        async with store.transaction() as tx:
            earlier = await tx.idempotent(tenant_id, method, key, content)
            if earlier is not None:
                return reply.FromString(earlier)
            answer = await work(tx)
            await tx.remember(tenant_id, method, key, answer.SerializeToString(deterministic=True))
        return answer


async def answered(
    store: Store, *, tenant_id: str, method: str, key: str, content: bytes, reply: type[Reply]
) -> Reply | None:
    """The first reply to an idempotency key, for work that must not begin twice outside of `once`; else None.

    Refuses as `once` does.
    """
    with refusing_store_errors():
        earlier = await store.answered(tenant_id, method, key, content)
    return None if earlier is None else reply.FromString(earlier)


def not_found(resource: str, resource_id: str) -> Refusal:
    """RESOURCE_NOT_FOUND."""
    return Refusal(
        reasons.ERROR_REASON_RESOURCE_NOT_FOUND, f"there is no such {resource}", resource=resource, id=resource_id
    )


async def actor(tx: Transaction, caller: Principal) -> str:
    """The caller as the audit trail names it: a commitment whose salt lies with the subject's key."""
    return (await tx.vault.commitment(caller.tenant_id, caller.subject, b"actor")).hex()


def turn() -> TurnRef:
    """The turn of the RPC that is being served."""
    correlation = current_correlation()
    return TurnRef(correlation_id=correlation.correlation_id, turn_id=correlation.turn_id)


class LedgerSink:
    """Writes refused calls to the audit trail: of the caller's tenant, or of the system where none was proved."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(self, refused: RefusedCall) -> None:
        async with self._store.transaction() as tx:
            tx.audit(
                tenant_id=refused.tenant_id or SYSTEM_TENANT,
                owner=refused.owner,
                actor=refused.actor_commitment or "unauthenticated",
                transition="request.refused",
                reason_code=reason_name(refused.reason),
                turn=TurnRef(correlation_id=refused.correlation_id, turn_id=refused.turn_id),
                facts={"method": refused.method, "count": str(refused.count)},
            )
