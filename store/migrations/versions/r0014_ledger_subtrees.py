"""Roots of complete subtrees of the ledgers, so that a proof reads few rows (AUD-1); those of rows that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.merkle import Frontier, leaf_hash

revision = "0014"
down_revision = "0013"

SUBTREE_LEVEL = 8
AT_ONCE = 1_000
SUBTREES = sa.table(
    "ledger_subtrees",
    sa.column("tenant_id", sa.Text()),
    sa.column("ledger", sa.Text()),
    sa.column("tree_size", sa.BigInteger()),
    sa.column("roots", sa.LargeBinary()),
)
HEADS = sa.table("chain_heads", sa.column("tenant_id", sa.Text()), sa.column("ledger", sa.Text()))


def upgrade() -> None:
    """Create the table and fill it."""
    op.create_table(
        "ledger_subtrees",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("ledger", sa.Text(), nullable=False),
        sa.Column("tree_size", sa.BigInteger(), nullable=False),
        sa.Column("roots", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "ledger", "tree_size", name="pk_ledger_subtrees"),
    )
    fill()


def fill() -> None:
    """Of every ledger, what its rows have completed."""
    for tenant_id, ledger in op.get_bind().execute(sa.select(HEADS.c.tenant_id, HEADS.c.ledger)).all():
        _fill(tenant_id, ledger)


def _fill(tenant_id: str, ledger: str) -> None:
    bind = op.get_bind()
    rows = sa.table(
        ledger,
        sa.column("tenant_id", sa.Text()),
        sa.column("sequence", sa.BigInteger()),
        sa.column("row_hash", sa.LargeBinary()),
    )
    frontier, found = Frontier(), []
    while hashes := bind.scalars(
        sa.select(rows.c.row_hash)
        .where(rows.c.tenant_id == tenant_id, rows.c.sequence > frontier.size)
        .order_by(rows.c.sequence)
        .limit(AT_ONCE)
    ).all():
        for row_hash in hashes:
            frontier, completed = frontier.grown(leaf_hash(bytes(row_hash)))
            if len(completed) > SUBTREE_LEVEL:
                roots = b"".join(completed[SUBTREE_LEVEL:])
                found.append({"tenant_id": tenant_id, "ledger": ledger, "tree_size": frontier.size, "roots": roots})
    if found:
        bind.execute(sa.insert(SUBTREES), found)
