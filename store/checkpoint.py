"""Signed checkpoints (RFC 9162 tree heads): a ledger cut short or rewritten no longer matches what was signed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from selene.audit.v1.audit_pb2 import Checkpoint
from sqlalchemy import select

from store.access import Clock
from store.engine import Database, insert_into
from store.keys import SigningKey, signature_holds
from store.ledger import head_of
from store.schema import LEDGERS, chain_heads, checkpoints


def signed_bytes(checkpoint: Checkpoint) -> bytes:
    """What the signature covers: the deterministic bytes with `signature` empty."""
    unsigned = Checkpoint()
    unsigned.CopyFrom(checkpoint)
    unsigned.ClearField("signature")
    return unsigned.SerializeToString(deterministic=True)


def checkpoint_holds(checkpoint: Checkpoint, trusted_keys: Mapping[str, bytes]) -> bool:
    """Whether a trusted key signed exactly this checkpoint."""
    return signature_holds(trusted_keys, checkpoint.key_id, signed_bytes(checkpoint), checkpoint.signature)


class Checkpoints:
    """Signing and listing checkpoints. They state what the ledgers hold and change nothing: no audit row."""

    def __init__(self, database: Database, clock: Clock, signing_key: SigningKey) -> None:
        self._database = database
        self._clock = clock
        self._signing_key = signing_key

    async def sign(self, tenant_id: str, ledger: str) -> Checkpoint | None:
        """A checkpoint of the committed ledger, or the one that exists at its length; None while it is empty."""
        if ledger not in LEDGERS:
            raise ValueError(f"{ledger!r} is no ledger")
        found = select(chain_heads).where(chain_heads.c.tenant_id == tenant_id, chain_heads.c.ledger == ledger)
        rows = await self._database.reader.rows(found)
        if not rows:
            return None
        head = head_of(rows[0])
        checkpoint = Checkpoint(
            ledger=ledger,
            tenant_id=tenant_id,
            tree_size=head.size,
            root_hash=head.frontier.root(),
            signed_at=self._clock.now(),
            key_id=self._signing_key.key_id,
        )
        checkpoint.signature = self._signing_key.sign(signed_bytes(checkpoint))
        await self._keep(checkpoint)
        return next(kept for kept in await self.all(tenant_id, ledger) if kept.tree_size == head.size)

    async def sign_all(self) -> int:
        """A checkpoint of every ledger of every tenant; how many there are. StoreUnavailable."""
        heads = await self._database.reader.rows(select(chain_heads.c.tenant_id, chain_heads.c.ledger))
        for head in heads:
            await self.sign(head.tenant_id, head.ledger)
        return len(heads)

    async def all(self, tenant_id: str, ledger: str) -> list[Checkpoint]:
        """Every checkpoint of the ledger, shortest tree first."""
        found = select(checkpoints.c.canonical).where(
            checkpoints.c.tenant_id == tenant_id, checkpoints.c.ledger == ledger
        )
        rows = await self._database.reader.rows(found.order_by(checkpoints.c.tree_size))
        return [Checkpoint.FromString(row.canonical) for row in rows]

    async def _keep(self, checkpoint: Checkpoint) -> None:
        statement = insert_into(checkpoints, self._database.dialect).values(checkpoint_columns(checkpoint))
        async with self._database.writer.begin() as session:
            await session.execute(statement.on_conflict_do_nothing())


def checkpoint_columns(checkpoint: Checkpoint) -> dict[str, object]:
    """The table's row."""
    return {
        "tenant_id": checkpoint.tenant_id,
        "ledger": checkpoint.ledger,
        "tree_size": checkpoint.tree_size,
        "root_hash": checkpoint.root_hash,
        "signed_at": checkpoint.signed_at.ToDatetime(tzinfo=UTC),
        "key_id": checkpoint.key_id,
        "canonical": checkpoint.SerializeToString(deterministic=True),
    }
