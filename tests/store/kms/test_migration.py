"""A database from before there were secrets is upgraded in place."""

from __future__ import annotations

from datetime import timedelta

from selene.kms.v1 import kms_pb2 as kms
from sqlalchemy import Connection, inspect

from store.engine import open_database
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

TABLES_OF_0001 = frozenset(
    (
        "alembic_version",
        "artifact_payloads",
        "artifact_pointers",
        "artifacts_ledger",
        "audit_events",
        "chain_heads",
        "checkpoints",
        "heartbeat",
        "idempotency",
        "settings",
        "subject_keys",
        "voiceid_conflict_retries",
        "voiceid_device_members",
        "voiceid_device_owners",
        "voiceid_enrollment_clips",
        "voiceid_enrollments",
        "voiceid_fingerprints",
        "voiceid_galleries",
        "voiceid_profile_pointers",
        "voiceid_profiles",
        "voiceid_prompt_budgets",
        "voiceid_prompt_cooldowns",
        "voiceid_streams",
    )
)
BACK_TO_0001 = (
    "DROP INDEX ix_audit_events_incidents",
    "DROP INDEX ix_idempotency_created_at",
    "DROP INDEX ix_subject_keys_key_id",
    "DROP INDEX ix_voiceid_streams_session",
    "DROP INDEX ix_voiceid_prompt_cooldowns_until",
    "DROP INDEX ix_voiceid_prompt_budgets_spent_at",
    "DROP INDEX ix_voiceid_conflict_retries_spent_at",
    "ALTER TABLE voiceid_prompt_budgets DROP COLUMN spent_at",
    "ALTER TABLE voiceid_conflict_retries DROP COLUMN spent_at",
    "ALTER TABLE voiceid_fingerprints DROP COLUMN of_clip",
    "UPDATE alembic_version SET version_num = '0001'",
)


async def test_a_database_of_the_foundation_gets_the_tables_of_secrets_and_keeps_its_rows(
    store_url: str, clock: FakeClock
) -> None:
    store = await open_store(store_url, clock)
    async with store.transaction() as tx:
        audit(tx)
    await store.close()
    database = open_database(store_url, lock_timeout_s=5.0, connections=1)

    def go_back(connection: Connection) -> None:
        later = set(inspect(connection).get_table_names()) - TABLES_OF_0001
        assert "kms_secrets" in later
        for statement in (*(f"DROP TABLE {table}" for table in sorted(later)), *BACK_TO_0001):
            connection.exec_driver_sql(statement)

    await database.writer.exclusively(go_back)
    await database.close()
    upgraded = await open_store(store_url, clock, prefix="upgraded")
    await upgraded.migrate()
    async with upgraded.transaction() as tx:
        await tx.kms.secrets.put(
            "kms://providers/openai/stt",
            b"secret",
            environment=kms.ENVIRONMENT_DEV,
            granted_owners=["PH1.C"],
            now=clock.now(),
            rotate_by=clock.now() + timedelta(days=7),
            overlap_until=clock.now(),
        )
        audit(tx)
    assert await upgraded.kms.secrets.get("kms://providers/openai/stt") is not None
    assert await upgraded.audit.size("t1") == 2
    await upgraded.close()
