"""`Store`: the open database with everything that reads and writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from selene.audit.v1.audit_pb2 import Checkpoint
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from store.access import Clock, Ids, Reads
from store.artifacts import ArtifactsReader
from store.checkpoint import Checkpoints
from store.delivery import DeliveryReader
from store.engine import Database, Session, insert_into, open_database, shown, sqlite_file
from store.errors import StoreUnavailable, Unavailability
from store.gold import GoldReader
from store.governance import GovernanceReader
from store.idempotency import answered
from store.keys import MasterKeys, SigningKey
from store.kms import KmsReader
from store.learning import LearningReader
from store.ledger import AuditTrail
from store.migrations import upgrade
from store.proof import Proofs
from store.routing import RoutingReader
from store.schema import heartbeat
from store.settings import SettingsReader
from store.transaction import Transaction
from store.vault import VaultReader
from store.verify import VerifyReport, verify_tenant
from store.voiceid import VoiceIdReader

T = TypeVar("T")

LOCK_TIMEOUT_S = 5.0
CONNECTIONS = 8


class Rooms:
    """What can be read, over one way of reading: `audit`, `artifacts`, `delivery`, `gold`, `governance`, `kms`,
    `learning`, `proofs`, `routing`, `settings`, `vault`, `voiceid`."""

    def __init__(self, reads: Reads, master_keys: MasterKeys) -> None:
        self._reads = reads
        self._master_keys = master_keys

    @cached_property
    def audit(self) -> AuditTrail:
        """Audit events."""
        return AuditTrail(self._reads)

    @cached_property
    def artifacts(self) -> ArtifactsReader:
        """The artifacts ledger and its pointers."""
        return ArtifactsReader(self._reads)

    @cached_property
    def proofs(self) -> Proofs:
        """Merkle proofs."""
        return Proofs(self._reads)

    @cached_property
    def settings(self) -> SettingsReader:
        """Layered settings."""
        return SettingsReader(self._reads)

    @cached_property
    def vault(self) -> VaultReader:
        """Per-subject keys."""
        return VaultReader(self._reads, self._master_keys)

    @cached_property
    def kms(self) -> KmsReader:
        """Secrets and leases."""
        return KmsReader(self._reads, self.vault, self._master_keys)

    @cached_property
    def learning(self) -> LearningReader:
        """What learning keeps of signals."""
        return LearningReader(self._reads, self.vault)

    @cached_property
    def delivery(self) -> DeliveryReader:
        """What delivery keeps."""
        return DeliveryReader(self._reads, self.vault)

    @cached_property
    def gold(self) -> GoldReader:
        """Gold and lineage."""
        return GoldReader(self._reads, self.vault)

    @cached_property
    def governance(self) -> GovernanceReader:
        """What governance keeps."""
        return GovernanceReader(self._reads)

    @cached_property
    def routing(self) -> RoutingReader:
        """What routing keeps."""
        return RoutingReader(self._reads)

    @cached_property
    def voiceid(self) -> VoiceIdReader:
        """What voice identity keeps."""
        return VoiceIdReader(self._reads, self.vault)


def audit_trail(rooms: Rooms | Transaction) -> AuditTrail:
    """The audit events as these read them: a transaction's own `audit` writes one."""
    return rooms.audit if isinstance(rooms, Rooms) else AuditTrail(rooms)


class Store(Rooms):
    """One database, SQLite or PostgreSQL.

    Its rooms never see uncommitted rows. Changes go through `transaction`. Several processes may open one database.
    """

    def __init__(
        self, database: Database, *, clock: Clock, ids: Ids, signing_key: SigningKey, master_keys: MasterKeys
    ) -> None:
        super().__init__(database.reader, master_keys)
        self._database = database
        self._clock = clock
        self._ids = ids
        self._signing_key = signing_key
        self._closed = False
        self._checkpoints = Checkpoints(database, clock, signing_key)

    @staticmethod
    async def open(
        url: str,
        *,
        clock: Clock,
        ids: Ids,
        signing_key: bytes,
        master_key: bytes,
        retired_master_keys: Sequence[bytes] = (),
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        connections: int = CONNECTIONS,
    ) -> Store:
        """Open `sqlite:///file` or `postgresql://…` without changing it; call `migrate` before use.

        `signing_key` is an Ed25519 seed, `master_key` an AES-256 key, 32 bytes each. ValueError for a bad url or key,
        StoreUnavailable where nothing answers.
        """
        keys = MasterKeys(master_key, retired_master_keys)
        signer = SigningKey(signing_key)
        database = open_database(url, lock_timeout_s=lock_timeout_s, connections=connections)
        _make_private(sqlite_file(url))
        store = Store(database, clock=clock, ids=ids, signing_key=signer, master_keys=keys)
        try:
            await database.reader.rows(text("SELECT 1"))
        except StoreUnavailable as error:
            await store.close()
            raise StoreUnavailable(
                error.reason,
                f"{shown(url)}: {error.detail}. Check that the database runs and that the store's url names it",
            ) from error
        except BaseException:
            await store.close()
            raise
        return store

    async def migrate(self) -> None:
        """Bring the schema up to this code's version; several processes may do so at once.

        StoreTooNew for a database of a later version, WrongMasterKey where existing subject keys need another master
        key, StoreUnavailable.
        """
        self._refuse_closed()
        await self._database.writer.exclusively(upgrade)
        await self.vault.check_master_key()

    async def answered(self, tenant_id: str, method: str, key: str, request_hash: bytes) -> bytes | None:
        """What `Transaction.idempotent` would find, without claiming the key. IdempotencyConflict, StoreUnavailable."""
        return await answered(self._reads, tenant_id, method, key, request_hash)

    async def close(self) -> None:
        """Finish running transactions and close; every later use raises StoreUnavailable."""
        self._closed = True
        await self._database.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Changes and audit rows that become durable together when the block ends, or not at all if it raises.

        UnauditedChange, UnansweredClaim; StoreUnavailable (also from the end of the block: then nothing was kept).
        """
        self._refuse_closed()
        async with self._database.writer.begin() as session:
            tx = self._begun(session)
            yield tx
            await tx.complete()
        if tx.erased:
            await self._database.writer.scrub()

    async def perform(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """`transaction` for work that awaits nothing but its transaction: on SQLite all of it costs one thread hop."""
        self._refuse_closed()
        erased = False

        async def whole(session: Session) -> T:
            nonlocal erased
            tx = self._begun(session)
            result = await work(tx)
            await tx.complete()
            erased = tx.erased
            return result

        result = await self._database.writer.perform(whole)
        if erased:
            await self._database.writer.scrub()
        return result

    async def together(self, work: Callable[[Rooms], Coroutine[Any, Any, T]]) -> T:
        """Several reads that await nothing but each other: on SQLite all of them cost one thread hop.

        Each sees what is committed when it runs. StoreUnavailable.
        """
        return await self._database.reader.together(lambda reads: work(Rooms(reads, self._master_keys)))

    async def healthy(self) -> bool:
        """Whether a write becomes durable right now: it writes one."""
        try:
            self._refuse_closed()
            async with self._database.writer.begin() as session:
                beat = {"beat_at": self._clock.now()}
                statement = insert_into(heartbeat, self._database.dialect).values(id=1, **beat)
                await session.execute(statement.on_conflict_do_update(index_elements=[heartbeat.c.id], set_=beat))
        except (StoreUnavailable, SQLAlchemyError):
            # Also a database that was not migrated yet.
            return False
        return True

    async def checkpoint(self, tenant_id: str, ledger: str) -> Checkpoint | None:
        """Sign how long the tenant's `audit_events` or `artifacts_ledger` is and what it holds; None while empty.

        A ledger that did not grow keeps its checkpoint. StoreUnavailable.
        """
        self._refuse_closed()
        return await self._checkpoints.sign(tenant_id, ledger)

    async def checkpoint_all(self) -> int:
        """`checkpoint` for every ledger of every tenant; how many there are. StoreUnavailable."""
        self._refuse_closed()
        return await self._checkpoints.sign_all()

    async def checkpoints(self, tenant_id: str, ledger: str) -> list[Checkpoint]:
        """Every signed checkpoint, shortest tree first."""
        return await self._checkpoints.all(tenant_id, ledger)

    async def verify(self, tenant_id: str) -> VerifyReport:
        """The tenant's chains recomputed against this store's own key; `store.verify.verify_store` trusts no server."""
        self._refuse_closed()
        async with self._database.reader.snapshot() as reads:
            return await verify_tenant(reads, tenant_id, self.trusted_keys())

    def trusted_keys(self) -> dict[str, bytes]:
        """This store's own signing key, id → 32 public bytes, as `verify_store` takes it."""
        return {self._signing_key.key_id: self._signing_key.public}

    def _begun(self, session: Session) -> Transaction:
        return Transaction(
            session,
            dialect=self._database.dialect,
            clock=self._clock,
            ids=self._ids,
            signing_key=self._signing_key,
            master_keys=self._master_keys,
        )

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "the store is closed")


def _make_private(file: Path | None) -> None:
    """Create a new database file that only this user may read; its write-ahead log takes over the mode."""
    if file is None or file.exists():
        return
    try:
        file.touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(Unavailability.UNAVAILABLE, str(error)) from error
