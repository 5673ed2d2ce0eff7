"""The foundation: ledgers, idempotency, subject keys, settings and what voice identity keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.migrations.append_only import make_refusal, refuse_changes

revision = "0001"
down_revision = None

# What no two rows share.
APPEND_ONLY = {
    "audit_events": ("tenant_id = NEW.tenant_id AND sequence = NEW.sequence", "event_id = NEW.event_id"),
    "artifacts_ledger": (
        "tenant_id = NEW.tenant_id AND sequence = NEW.sequence",
        "artifact_id = NEW.artifact_id",
        "tenant_id = NEW.tenant_id AND scope_type = NEW.scope_type AND scope_id = NEW.scope_id"
        " AND artifact_type = NEW.artifact_type"
        " AND (artifact_version = NEW.artifact_version OR idempotency_key = NEW.idempotency_key)",
    ),
    "artifact_payloads": ("sha256 = NEW.sha256",),
    "checkpoints": ("tenant_id = NEW.tenant_id AND ledger = NEW.ledger AND tree_size = NEW.tree_size",),
}
INSERTED_ONCE = frozenset({"artifact_payloads", "checkpoints"})


def upgrade() -> None:
    """Create every table, then make the ledgers append-only."""
    _create_tables()
    make_refusal()
    for table, identities in APPEND_ONLY.items():
        refuse_changes(table, identities, inserted_once=table in INSERTED_ONCE)


def _create_tables() -> None:
    op.create_table(
        "artifact_payloads",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_artifact_payloads"),
    )
    op.create_table(
        "artifact_pointers",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=False),
        sa.Column("scope_type", sa.Integer(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("active_version", sa.BigInteger(), nullable=False),
        sa.Column("active_package_hash", sa.LargeBinary(), nullable=False),
        sa.Column("rollback_version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "artifact_type", "scope_type", "scope_id", name="pk_artifact_pointers"),
    )
    op.create_table(
        "artifacts_ledger",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=False),
        sa.Column("artifact_version", sa.BigInteger(), nullable=False),
        sa.Column("scope_type", sa.Integer(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("package_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.Column("prev_hash", sa.LargeBinary(), nullable=False),
        sa.Column("row_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "sequence", name="pk_artifacts_ledger"),
        sa.UniqueConstraint("artifact_id", name="uq_artifacts_ledger_artifact_id"),
        sa.UniqueConstraint(
            "tenant_id",
            "scope_type",
            "scope_id",
            "artifact_type",
            "artifact_version",
            name="uq_artifacts_ledger_version",
        ),
        sa.UniqueConstraint(
            "tenant_id", "scope_type", "scope_id", "artifact_type", "idempotency_key", name="uq_artifacts_ledger_dedupe"
        ),
    )
    op.create_table(
        "audit_events",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("transition", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("scope_type", sa.Integer(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.Column("prev_hash", sa.LargeBinary(), nullable=False),
        sa.Column("row_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "sequence", name="pk_audit_events"),
        sa.UniqueConstraint("event_id", name="uq_audit_events_event_id"),
    )
    op.create_index(
        "ix_audit_events_correlation", "audit_events", ["tenant_id", "correlation_id", "sequence"], unique=False
    )
    op.create_index("ix_audit_events_occurred_at", "audit_events", ["tenant_id", "occurred_at"], unique=False)
    op.create_index("ix_audit_events_owner", "audit_events", ["tenant_id", "owner", "sequence"], unique=False)
    op.create_index(
        "ix_audit_events_scope", "audit_events", ["tenant_id", "scope_type", "scope_id", "sequence"], unique=False
    )
    op.create_table(
        "chain_heads",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("ledger", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("head_hash", sa.LargeBinary(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "ledger", name="pk_chain_heads"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("ledger", sa.Text(), nullable=False),
        sa.Column("tree_size", sa.BigInteger(), nullable=False),
        sa.Column("root_hash", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "ledger", "tree_size", name="pk_checkpoints"),
    )
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("beat_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_heartbeat"),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "method", "key", name="pk_idempotency"),
    )
    op.create_table(
        "settings",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("layer_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "layer", "tenant_id", "layer_id", "source", name="pk_settings"),
    )
    op.create_table(
        "subject_keys",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("master_key_id", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", name="pk_subject_keys"),
    )
    op.create_index("ix_subject_keys_master", "subject_keys", ["master_key_id"], unique=False)
    op.create_table(
        "voiceid_conflict_retries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("retries", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "session_id", "state", name="pk_voiceid_conflict_retries"),
    )
    op.create_table(
        "voiceid_device_members",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", "user_id", name="pk_voiceid_device_members"),
    )
    op.create_table(
        "voiceid_device_owners",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", name="pk_voiceid_device_owners"),
    )
    op.create_table(
        "voiceid_enrollment_clips",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("enrollment_id", sa.Text(), nullable=False),
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("audio_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("voiced_ms", sa.BigInteger(), nullable=False),
        sa.Column("model_set_hash", sa.Text(), nullable=False),
        sa.Column("quality", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "enrollment_id", "clip_id", name="pk_voiceid_enrollment_clips"),
        sa.UniqueConstraint("tenant_id", "enrollment_id", "audio_sha256", name="uq_voiceid_enrollment_clips_audio"),
    )
    op.create_table(
        "voiceid_enrollments",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("enrollment_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("consent_ref", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("profile_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "enrollment_id", name="pk_voiceid_enrollments"),
    )
    op.create_index("ix_voiceid_enrollments_user", "voiceid_enrollments", ["tenant_id", "user_id"], unique=False)
    op.create_table(
        "voiceid_fingerprints",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("fingerprint_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "fingerprint_id", name="pk_voiceid_fingerprints"),
    )
    op.create_table(
        "voiceid_galleries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("gallery_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_voiceid_galleries"),
    )
    op.create_table(
        "voiceid_profile_pointers",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("profile_version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("gallery_version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name="pk_voiceid_profile_pointers"),
    )
    op.create_index(
        "ix_voiceid_profile_pointers_gallery",
        "voiceid_profile_pointers",
        ["tenant_id", "gallery_version"],
        unique=False,
    )
    op.create_table(
        "voiceid_profiles",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("profile_version", sa.BigInteger(), nullable=False),
        sa.Column("model_set_hash", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("clip_count", sa.BigInteger(), nullable=False),
        sa.Column("voiced_ms", sa.BigInteger(), nullable=False),
        sa.Column("consent_ref", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "profile_version", name="pk_voiceid_profiles"),
    )
    op.create_table(
        "voiceid_prompt_budgets",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("session_key", sa.LargeBinary(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "session_key", name="pk_voiceid_prompt_budgets"),
    )
    op.create_table(
        "voiceid_prompt_cooldowns",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("cooldown_key", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "cooldown_key", name="pk_voiceid_prompt_cooldowns"),
    )
    op.create_table(
        "voiceid_streams",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("claimed_user_id", sa.Text(), nullable=False),
        sa.Column("named_user_id", sa.Text(), nullable=False),
        sa.Column("cohort", sa.JSON(), nullable=False),
        sa.Column("decision", sa.LargeBinary(), nullable=False),
        sa.Column("cooldown_key", sa.LargeBinary(), nullable=False),
        sa.Column("latency_us", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("speaker_user_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "stream_id", name="pk_voiceid_streams"),
    )
    op.create_index("ix_voiceid_streams_decided_at", "voiceid_streams", ["tenant_id", "decided_at"], unique=False)
