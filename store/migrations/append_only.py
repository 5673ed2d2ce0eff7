"""Tables whose rows the database itself never lets change, whoever asks."""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op


def refuse_changes(table: str, identities: Sequence[str], *, inserted_once: bool = False) -> None:
    """Make a table append-only.

    `identities` are conditions on `NEW` under which a row that is there is the same one: INSERT OR REPLACE of SQLite
    deletes without firing a DELETE trigger. Where rows are `inserted_once`, being addressed by their content, a second
    INSERT changes nothing; else it is refused. FAIL ends the statement at the row that it refuses; to ABORT, SQLite
    would keep every page that a statement changes until it ends, which takes longer than the change.
    """
    if op.get_bind().dialect.name == "postgresql":
        _on_postgresql(table)
    else:
        _on_sqlite(table, identities, "IGNORE" if inserted_once else f"FAIL, 'append-only: {table}'")


def make_refusal() -> None:
    """What the triggers of PostgreSQL call; once for a database."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'append-only: %', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$"
        )


def _on_sqlite(table: str, identities: Sequence[str], refusal: str) -> None:
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_refuse_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(FAIL, 'append-only: {table}'); END"
        )
    for number, identity in enumerate(identities):
        op.execute(
            f"CREATE TRIGGER {table}_refuse_replace_{number} BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {identity}) "
            f"BEGIN SELECT RAISE({refusal}); END"
        )


def _on_postgresql(table: str) -> None:
    for name, event, each in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {table}_refuse_{name} BEFORE {event} ON {table} "
            f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
        )
        # ALWAYS: also for a session that calls itself a replica.
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_refuse_{name}")
