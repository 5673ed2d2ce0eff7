"""The one transaction type: a state change and its audit row commit together or not at all (ALL-2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.scope_pb2 import Scope, TurnRef
from sqlalchemy import Executable, Row, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from store.access import Clock, Ids, Values, WholeRow, Written
from store.artifacts import Artifacts
from store.delivery import Deliveries
from store.engine import Parameters, Session, insert_into, translated
from store.errors import Conflict, StoreError, UnansweredClaim, UnauditedChange
from store.gold import Gold
from store.governance import Governance
from store.idempotency import Claims
from store.keys import MasterKeys, SigningKey
from store.kms import Kms
from store.learning import Learning
from store.ledger import append_audit, audit_event
from store.retention import Retention
from store.routing import Routing
from store.settings import Settings
from store.vault import Vault
from store.voiceid import VoiceId

T = TypeVar("T")

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Transaction:
    """State changes and their audit rows. Made by `Store.transaction`; usable inside that block only.

    Rooms: `artifacts`, `delivery`, `gold`, `governance`, `kms`, `learning`, `retention`, `routing`, `settings`,
    `vault`, `voiceid`. Keep the block short and free of other I/O: on SQLite it holds the only writer. After any
    database error the transaction is over, whatever the block does with the exception.
    """

    def __init__(
        self,
        session: Session,
        *,
        dialect: str,
        clock: Clock,
        ids: Ids,
        signing_key: SigningKey,
        master_keys: MasterKeys,
    ) -> None:
        self.clock = clock
        self.ids = ids
        self._session = session
        self.dialect = dialect
        self._signing_key = signing_key
        self._master_keys = master_keys
        self._claims = Claims(self)
        self._events: list[AuditEvent] = []
        self._changed = False
        self.erased = False
        self._broken: BaseException | None = None

    @cached_property
    def artifacts(self) -> Artifacts:
        """The artifacts ledger and its pointers."""
        return Artifacts(self, self._signing_key)

    @cached_property
    def retention(self) -> Retention:
        """Removing what is kept for a time only."""
        return Retention(self)

    @cached_property
    def settings(self) -> Settings:
        """Layered settings."""
        return Settings(self)

    @cached_property
    def vault(self) -> Vault:
        """Per-subject keys."""
        return Vault(self, self._master_keys)

    @cached_property
    def kms(self) -> Kms:
        """Secrets and leases."""
        return Kms(self, self.vault, self._master_keys)

    @cached_property
    def learning(self) -> Learning:
        """What learning keeps of signals."""
        return Learning(self, self.vault)

    @cached_property
    def delivery(self) -> Deliveries:
        """What delivery keeps."""
        return Deliveries(self, self.vault)

    @cached_property
    def gold(self) -> Gold:
        """Gold and lineage."""
        return Gold(self, self.vault)

    @cached_property
    def governance(self) -> Governance:
        """What governance keeps, and the store's signature for its statements."""
        return Governance(self, self._signing_key)

    @cached_property
    def routing(self) -> Routing:
        """What routing keeps."""
        return Routing(self)

    @cached_property
    def voiceid(self) -> VoiceId:
        """What voice identity keeps."""
        return VoiceId(self, self.vault)

    def audit(
        self,
        *,
        tenant_id: str,
        owner: str,
        actor: str,
        transition: str,
        reason_code: str,
        scope: Scope | None = None,
        turn: TurnRef | None = None,
        session_id: str = "",
        device_id: str = "",
        idempotency_key: str = "",
        hashes: Mapping[str, bytes] = NOTHING,
        facts: Mapping[str, str] = NOTHING,
        occurred_at: datetime | None = None,
    ) -> str:
        """Add an audit event and return its id; it is chained when the transaction commits. Not a coroutine.

        `occurred_at` is for what is written after it happened; without it that is now.

        `actor` is a commitment (`vault.commitment(...).hex()`) or `system`; `hashes` are 32-byte digests or
        commitments: never payloads, secrets or audio. ValueError.
        """
        event = audit_event(
            event_id=self.ids.new(),
            occurred_at=occurred_at or self.clock.now(),
            tenant_id=tenant_id,
            owner=owner,
            actor=actor,
            transition=transition,
            reason_code=reason_code,
            scope=scope,
            turn=turn,
            session_id=session_id,
            device_id=device_id,
            idempotency_key=idempotency_key,
            hashes=hashes,
            facts=facts,
        )
        self._events.append(event)
        return event.event_id

    async def idempotent(self, tenant_id: str, method: str, key: str, request_hash: bytes) -> bytes | None:
        """The first result of this key, or None where this transaction is the first: then do the work and `remember`.

        `request_hash` comes from `store.idempotency.request_hash`. A duplicate that runs at the same moment waits for
        the first. IdempotencyConflict, StoreUnavailable.
        """
        return await self._claims.claim(tenant_id, method, key, request_hash)

    async def remember(self, tenant_id: str, method: str, key: str, response: bytes) -> None:
        """Store the result that every repetition will get. ValueError where `idempotent` was not asked first."""
        await self._claims.remember(tenant_id, method, key, response)

    async def rows(self, statement: Executable, parameters: Values | None = None) -> Sequence[Row[Any]]:
        """Every row, as this transaction sees them."""
        return (await self._execute(statement, parameters)).rows

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows as this transaction sees them, a few at a time."""
        self._refuse_broken()
        async with translated():
            async for row in self._session.stream(statement):
                yield row

    async def write(self, statement: Executable, parameters: Parameters = None) -> Written:
        """Run a change. Conflict where a row of this identity exists; StoreUnavailable."""
        written = await self._execute(statement, parameters)
        self._changed = self._changed or bool(written.rows) or written.count > 0
        return written

    async def append(self, table: Table, rows: Sequence[WholeRow]) -> None:
        """Insert whole rows; see `store.access.Writes.append`."""
        self._refuse_broken()
        if rows:
            await self._run(self._session.append(table, rows))
            self._changed = True

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """The dialect's INSERT, which knows ON CONFLICT."""
        return insert_into(table, self.dialect)

    async def complete(self) -> None:
        """Called by the store before it commits: refuses what must not be kept, and chains the audit events.

        UnauditedChange, UnansweredClaim, StoreError after a swallowed database error.
        """
        self._refuse_broken()
        if self._claims.unanswered:
            raise UnansweredClaim(", ".join(sorted(method for _, method, _ in self._claims.unanswered)))
        if self._changed and not self._events:
            raise UnauditedChange("state changed without an audit row")
        if "delivery" in self.__dict__:
            await self.delivery.append_events()
        if self._events:
            await append_audit(self, self._events)

    async def _execute(self, statement: Executable, parameters: Parameters) -> Written:
        self._refuse_broken()
        return await self._run(self._session.execute(statement, parameters))

    async def _run(self, asked: Coroutine[Any, Any, T]) -> T:
        try:
            async with translated():
                return await asked
        except IntegrityError as error:
            self._broken = error
            raise Conflict(str(error.orig)) from error
        except (SQLAlchemyError, StoreError) as error:
            self._broken = error
            raise

    def _refuse_broken(self) -> None:
        """SQLite may have undone everything by itself: what ran after would be kept without what came before."""
        if self._broken is not None:
            raise StoreError("the transaction is over: a database error was swallowed") from self._broken
