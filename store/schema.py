"""Every table of the store, as SQLAlchemy Core. Migrations create them; a test holds both to the same shape.

Times are microseconds since the epoch, UTC, so that both dialects keep the same instant exactly. Enums of the
contracts are stored by number. `tenant_id` is part of every key; the empty tenant is the deployment itself. Secrets
belong to the deployment and have none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """An aware instant as `Instant` keeps it."""
    return (moment - EPOCH) // timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds; a naive datetime is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime names no instant")
        return micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The same instant in UTC."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(column_0_N_label)s",
    }
)


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=False)


def _count(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _blob(name: str, *, key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, primary_key=key, nullable=False)


def _instant(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Instant, nullable=nullable)


def _number(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


# The one row that `healthy` writes: a disk that filled up or turned read-only shows here and nowhere else.
heartbeat = Table("heartbeat", metadata, _count("id", key=True), _instant("beat_at"))

chain_heads = Table(
    "chain_heads",
    metadata,
    _text("tenant_id", key=True),
    _text("ledger", key=True),
    _count("size"),
    _blob("head_hash"),
    _blob("frontier"),
)

# Roots of the perfect subtrees that the row number `tree_size` completed, lowest first: a proof reads few rows.
ledger_subtrees = Table(
    "ledger_subtrees",
    metadata,
    _text("tenant_id", key=True),
    _text("ledger", key=True),
    _count("tree_size", key=True),
    _blob("roots"),
)

# What may be an incident of a rollout; governance says of what kind.
INCIDENTS = text(
    "reason_code IN ('ADAPTER_FOREIGN_PAYLOAD', 'ADAPTER_SECRET_EXPOSED', 'CONSENT_REQUIRED', 'DEVICE_MISMATCH', "
    "'GATE_BLOCKED', 'OWN_WORK_REFUSED', 'ROLE_REQUIRED', 'SECOND_ACCEPTANCE', 'SUBJECT_MISMATCH', 'TENANT_MISMATCH')"
)

audit_events = Table(
    "audit_events",
    metadata,
    _text("tenant_id", key=True),
    _count("sequence", key=True),
    _text("event_id"),
    _instant("occurred_at"),
    _text("owner"),
    _text("actor"),
    _text("transition"),
    _text("reason_code"),
    Column("scope_type", Integer, nullable=False),
    _text("scope_id"),
    _text("correlation_id"),
    _text("turn_id"),
    _text("session_id"),
    _text("device_id"),
    _text("idempotency_key"),
    _blob("canonical"),
    _blob("prev_hash"),
    _blob("row_hash"),
    UniqueConstraint("event_id"),
    Index("ix_audit_events_correlation", "tenant_id", "correlation_id", "sequence"),
    Index("ix_audit_events_occurred_at", "tenant_id", "occurred_at"),
    Index("ix_audit_events_owner", "tenant_id", "owner", "sequence"),
    Index("ix_audit_events_scope", "tenant_id", "scope_type", "scope_id", "sequence"),
    Index(
        "ix_audit_events_incidents",
        "tenant_id",
        "occurred_at",
        sqlite_where=INCIDENTS,
        postgresql_where=INCIDENTS,
    ),
)

artifacts_ledger = Table(
    "artifacts_ledger",
    metadata,
    _text("tenant_id", key=True),
    _count("sequence", key=True),
    _text("artifact_id"),
    _text("artifact_type"),
    _count("artifact_version"),
    Column("scope_type", Integer, nullable=False),
    _text("scope_id"),
    _blob("package_hash"),
    _text("created_by"),
    _text("idempotency_key"),
    _instant("created_at"),
    Column("status", Integer, nullable=False),
    _blob("canonical"),
    _blob("prev_hash"),
    _blob("row_hash"),
    UniqueConstraint("artifact_id"),
    # §18: one row a version; the dedupe index is stronger than the source's, which adds the version to the key.
    UniqueConstraint(
        "tenant_id", "scope_type", "scope_id", "artifact_type", "artifact_version", name="uq_artifacts_ledger_version"
    ),
    UniqueConstraint(
        "tenant_id", "scope_type", "scope_id", "artifact_type", "idempotency_key", name="uq_artifacts_ledger_dedupe"
    ),
)

artifact_payloads = Table(
    "artifact_payloads", metadata, _blob("sha256", key=True), _blob("payload"), _instant("created_at")
)

artifact_pointers = Table(
    "artifact_pointers",
    metadata,
    _text("tenant_id", key=True),
    _text("artifact_type", key=True),
    Column("scope_type", Integer, primary_key=True, autoincrement=False),
    _text("scope_id", key=True),
    _count("active_version"),
    _blob("active_package_hash"),
    _count("rollback_version"),
    _instant("updated_at"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _text("tenant_id", key=True),
    _text("ledger", key=True),
    _count("tree_size", key=True),
    _blob("root_hash"),
    _instant("signed_at"),
    _text("key_id"),
    _blob("canonical"),
)

idempotency = Table(
    "idempotency",
    metadata,
    _text("tenant_id", key=True),
    _text("method", key=True),
    _text("key", key=True),
    _blob("request_hash"),
    Column("response", LargeBinary, nullable=True),
    _instant("created_at"),
    Index("ix_idempotency_created_at", "created_at"),
)

subject_keys = Table(
    "subject_keys",
    metadata,
    _text("tenant_id", key=True),
    _text("subject_id", key=True),
    _blob("key_id"),
    _text("master_key_id"),
    _blob("wrapped"),
    _instant("created_at"),
    Index("ix_subject_keys_master", "master_key_id"),
    Index("ix_subject_keys_key_id", "tenant_id", "key_id"),
)

settings = Table(
    "settings",
    metadata,
    _text("key", key=True),
    Column("layer", Integer, primary_key=True, autoincrement=False),
    _text("tenant_id", key=True),
    _text("layer_id", key=True),
    _text("source", key=True),
    _text("value"),
    _count("version"),
    _instant("updated_at"),
)

enrollments = Table(
    "voiceid_enrollments",
    metadata,
    _text("tenant_id", key=True),
    _text("enrollment_id", key=True),
    _text("user_id"),
    _text("device_id"),
    _text("state"),
    _text("consent_ref"),
    _instant("created_at"),
    _instant("closed_at", nullable=True),
    _count("profile_version"),
    Index("ix_voiceid_enrollments_user", "tenant_id", "user_id"),
)

enrollment_clips = Table(
    "voiceid_enrollment_clips",
    metadata,
    _text("tenant_id", key=True),
    _text("enrollment_id", key=True),
    _text("clip_id", key=True),
    _blob("audio_sha256"),
    _count("voiced_ms"),
    _text("model_set_hash"),
    Column("quality", JSON, nullable=False),
    _blob("sealed"),
    _instant("created_at"),
    UniqueConstraint("tenant_id", "enrollment_id", "audio_sha256", name="uq_voiceid_enrollment_clips_audio"),
)

profiles = Table(
    "voiceid_profiles",
    metadata,
    _text("tenant_id", key=True),
    _text("user_id", key=True),
    _count("profile_version", key=True),
    _text("model_set_hash"),
    _blob("sealed"),
    _count("clip_count"),
    _count("voiced_ms"),
    _text("consent_ref"),
    _instant("created_at"),
    _instant("expires_at", nullable=True),
)

profile_pointers = Table(
    "voiceid_profile_pointers",
    metadata,
    _text("tenant_id", key=True),
    _text("user_id", key=True),
    _count("profile_version"),
    _text("state"),
    _count("gallery_version"),
    _instant("updated_at"),
    Index("ix_voiceid_profile_pointers_gallery", "tenant_id", "gallery_version"),
)

galleries = Table("voiceid_galleries", metadata, _text("tenant_id", key=True), _count("gallery_version"))

device_members = Table(
    "voiceid_device_members",
    metadata,
    _text("tenant_id", key=True),
    _text("device_id", key=True),
    _text("user_id", key=True),
    _instant("created_at"),
)

device_owners = Table(
    "voiceid_device_owners",
    metadata,
    _text("tenant_id", key=True),
    _text("device_id", key=True),
    _text("user_id"),
    _instant("updated_at"),
)

prompt_budgets = Table(
    "voiceid_prompt_budgets",
    metadata,
    _text("tenant_id", key=True),
    _blob("session_key", key=True),
    _count("used"),
    Column("spent_at", Instant, nullable=False, server_default="0"),
    Index("ix_voiceid_prompt_budgets_spent_at", "spent_at"),
)

prompt_cooldowns = Table(
    "voiceid_prompt_cooldowns",
    metadata,
    _text("tenant_id", key=True),
    _blob("cooldown_key", key=True),
    _instant("until"),
    Index("ix_voiceid_prompt_cooldowns_until", "until"),
)

conflict_retries = Table(
    "voiceid_conflict_retries",
    metadata,
    _text("tenant_id", key=True),
    _text("session_id", key=True),
    _text("state", key=True),
    _count("retries"),
    Column("spent_at", Instant, nullable=False, server_default="0"),
    Index("ix_voiceid_conflict_retries_spent_at", "spent_at"),
)

# A session's identity prompt that no name has answered: 0 until the one retry was heard.
prompt_retries = Table(
    "voiceid_prompt_retries",
    metadata,
    _text("tenant_id", key=True),
    _text("session_id", key=True),
    _text("device_id", key=True),
    _count("retries"),
    _instant("spent_at"),
    Index("ix_voiceid_prompt_retries_spent_at", "spent_at"),
)

# Whom drift asks to enrol again, and when they were last told so.
reenrollments = Table(
    "voiceid_reenrollments",
    metadata,
    _text("tenant_id", key=True),
    _text("user_id", key=True),
    Column("cause", Integer, nullable=False),
    _instant("asked_at"),
    _instant("tell_from"),
    _instant("told_at", nullable=True),
)

streams = Table(
    "voiceid_streams",
    metadata,
    _text("tenant_id", key=True),
    _text("stream_id", key=True),
    _text("session_id"),
    _text("device_id"),
    _text("kind"),
    _text("claimed_user_id"),
    _text("named_user_id"),
    Column("cohort", JSON, nullable=False),
    _blob("decision"),
    _blob("cooldown_key"),
    _count("latency_us"),
    _instant("decided_at"),
    Column("speaker_user_id", Text, nullable=True),
    Index("ix_voiceid_streams_decided_at", "tenant_id", "decided_at"),
    Index("ix_voiceid_streams_session", "tenant_id", "session_id", "decided_at"),
)

UNCOUNTED = text("window_ends_at IS NULL")

# What a decision under a rollout, and what was said of it later, add to the KPI windows of each side.
observations = Table(
    "voiceid_observations",
    metadata,
    _text("tenant_id", key=True),
    _text("rollout_id", key=True),
    _text("stream_id", key=True),
    Column("arm", Integer, primary_key=True, nullable=False, autoincrement=False),
    # 1: it was decided; 2: somebody said who spoke.
    Column("kind", Integer, primary_key=True, nullable=False, autoincrement=False),
    _instant("at"),
    _text("session_id"),
    Column("cohort", JSON, nullable=False),
    _text("named_user_id"),
    Column("accepted", Integer, nullable=False),
    Column("speaker_user_id", Text, nullable=True),
    Column("conflict_state", Integer, nullable=False),
    _blob("prompt_key"),
    Column("prompted", Integer, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("latency_us", BigInteger, nullable=True),
    # The window that it was counted in, by its end.
    _instant("window_ends_at", nullable=True),
    Index(
        "ix_voiceid_observations_uncounted",
        "tenant_id",
        "rollout_id",
        "at",
        sqlite_where=UNCOUNTED,
        postgresql_where=UNCOUNTED,
    ),
    Index("ix_voiceid_observations_session", "tenant_id", "rollout_id", "session_id", "window_ends_at"),
    Index("ix_voiceid_observations_stream", "tenant_id", "stream_id"),
    Index("ix_voiceid_observations_window", "tenant_id", "rollout_id", "window_ends_at"),
    Index("ix_voiceid_observations_at", "at"),
)

# What a routed call under a rollout adds to the KPI windows of its side.
call_observations = Table(
    "routing_call_observations",
    metadata,
    _text("tenant_id", key=True),
    _text("rollout_id", key=True),
    _text("owner", key=True),
    _text("call_id", key=True),
    Column("arm", Integer, nullable=False),
    _instant("at"),
    _text("locale"),
    _count("latency_us"),
    _count("cost_micros"),
    _count("outputs"),
    _count("schema_valid"),
    _count("policy_conflicts"),
    Column("failed", Integer, nullable=False),
    Column("timed_out", Integer, nullable=False),
    Column("fell_back", Integer, nullable=False),
    # The window that it was counted in, by its end.
    _instant("window_ends_at", nullable=True),
    Index(
        "ix_routing_call_observations_uncounted",
        "rollout_id",
        "owner",
        "at",
        sqlite_where=UNCOUNTED,
        postgresql_where=UNCOUNTED,
    ),
    Index("ix_routing_call_observations_at", "at"),
)

fingerprints = Table(
    "voiceid_fingerprints",
    metadata,
    _text("tenant_id", key=True),
    _text("user_id", key=True),
    _text("fingerprint_id", key=True),
    _blob("sealed"),
    _instant("created_at"),
    # 1 for a clip that the user was enrolled from, 0 for what they said later.
    Column("of_clip", Integer, nullable=False, server_default="0"),
)

kms_secrets = Table(
    "kms_secrets",
    metadata,
    _text("handle", key=True),
    Column("environment", Integer, nullable=False),
    _count("version"),
    Column("granted_owners", JSON, nullable=False),
)

kms_versions = Table(
    "kms_versions",
    metadata,
    _text("handle", key=True),
    _count("version", key=True),
    Column("state", Integer, nullable=False),
    _instant("put_at"),
    _instant("rotate_by"),
    _instant("overlap_until", nullable=True),
    # Empty once the version was retired or revoked, and always where another backend keeps it.
    _blob("sealed"),
    # Its number in that backend, until it was destroyed there.
    Column("backend_version", BigInteger, nullable=True),
    Index("ix_kms_versions_overlap", "state", "overlap_until"),
)

kms_leases = Table(
    "kms_leases",
    metadata,
    _text("lease_id", key=True),
    _text("handle"),
    _count("version"),
    _text("owner"),
    _instant("issued_at"),
    _instant("expires_at"),
    _instant("ended_at", nullable=True),
    _instant("redeemed_at", nullable=True),
    Column("redemptions", BigInteger, nullable=False, server_default="0"),
    Index("ix_kms_leases_version", "handle", "version"),
    Index("ix_kms_leases_expires_at", "expires_at"),
)

# Whoever changes limits holds the one row until the commit: revisions become visible in their order.
routing_counter = Table("routing_counter", metadata, _count("id", key=True), _count("revision"))

routing_revisions = Table(
    "routing_revisions",
    metadata,
    _text("tenant_id", key=True),
    _count("revision"),
    Index("ix_routing_revisions_revision", "revision"),
)

routing_rules = Table(
    "routing_rules",
    metadata,
    _text("tenant_id", key=True),
    _text("rule_id", key=True),
    Column("effect", Integer, nullable=False),
    _text("reason"),
    Column("domains", JSON, nullable=False),
    Column("capabilities", JSON, nullable=False),
    Column("channels", JSON, nullable=False),
    Column("users", JSON, nullable=False),
    _instant("updated_at"),
)

routing_budgets = Table(
    "routing_budgets",
    metadata,
    _text("tenant_id", key=True),
    Column("domain", Integer, primary_key=True, autoincrement=False),
    Column("period", Integer, primary_key=True, autoincrement=False),
    _count("limit_micros"),
    _text("currency"),
    _instant("updated_at"),
)

routing_spending = Table(
    "routing_spending",
    metadata,
    _text("tenant_id", key=True),
    Column("domain", Integer, primary_key=True, autoincrement=False),
    Column("period", Integer, primary_key=True, autoincrement=False),
    Column("period_start", Instant, primary_key=True, autoincrement=False),
    _text("currency"),
    _count("spent_micros"),
    _count("reserved_micros"),
)

routing_grants = Table(
    "routing_grants",
    metadata,
    _text("grant_id", key=True),
    _text("tenant_id"),
    Column("domain", Integer, nullable=False),
    Column("period", Integer, nullable=False),
    _instant("period_start"),
    _count("micros"),
    _text("holder"),
    _instant("expires_at"),
    _instant("settled_at", nullable=True),
    _count("spent_micros"),
    Index("ix_routing_grants_open", "settled_at", "expires_at"),
)

routing_quotas = Table(
    "routing_quotas",
    metadata,
    _text("tenant_id", key=True),
    Column("domain", Integer, primary_key=True, autoincrement=False),
    _number("capacity"),
    _number("refill_per_s"),
    _number("tokens"),
    # Seconds since the epoch, unlike every other time: what a bucket is filled up to loses nothing by rounding.
    _number("at"),
    _instant("updated_at"),
)

routing_circuits = Table(
    "routing_circuits",
    metadata,
    _text("owner", key=True),
    _text("provider_ref", key=True),
    _blob("profile_hash", key=True),
    _count("revision"),
    # Only the rule understands it.
    Column("body", JSON, nullable=False),
    _instant("updated_at"),
)

routing_transitions = Table(
    "routing_transitions",
    metadata,
    _text("transition_id", key=True),
    _text("owner"),
    _text("provider_ref"),
    _blob("profile_hash"),
    Column("before", Integer, nullable=False),
    Column("after", Integer, nullable=False),
    _text("reason_code"),
    _instant("at"),
    Index("ix_routing_transitions_owner", "owner", "transition_id"),
)

# What waits to be sent and what waits to be reconciled are queues of their own: neither scans past the other. UNKNOWN
# is 6; a partial index is only used where the query says the same number literally.
DISPATCHED = text("ready_at IS NOT NULL AND state <> 6")
RECONCILED = text("ready_at IS NOT NULL AND state = 6")

deliveries = Table(
    "deliveries",
    metadata,
    _text("tenant_id", key=True),
    _text("delivery_id", key=True),
    _text("message_id"),
    _text("recipient_id"),
    Column("channel", Integer, nullable=False),
    _text("simulation_id"),
    _blob("payload_hash"),
    Column("state", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    _instant("due_at", nullable=True),
    _instant("expires_at"),
    _text("recipient_lock"),
    _text("provider_account"),
    _count("revision"),
    _count("fence"),
    _text("holder"),
    _instant("lease_until", nullable=True),
    # When it can be leased: the end of its lease while it has one, else `due_at`.
    _instant("ready_at", nullable=True),
    # Only the state machine understands it.
    Column("body", JSON, nullable=False),
    _instant("accepted_at"),
    _instant("updated_at"),
    UniqueConstraint(
        "tenant_id", "message_id", "recipient_id", "channel", "simulation_id", name="uq_deliveries_identity"
    ),
    Index(
        "ix_deliveries_dispatched",
        "channel",
        "priority",
        "ready_at",
        sqlite_where=DISPATCHED,
        postgresql_where=DISPATCHED,
    ),
    Index("ix_deliveries_reconciled", "ready_at", sqlite_where=RECONCILED, postgresql_where=RECONCILED),
    Index("ix_deliveries_accepted_at", "tenant_id", "accepted_at", "delivery_id"),
    Index("ix_deliveries_state", "tenant_id", "state", "accepted_at", "delivery_id", "channel"),
)

# Final: SENT_ACKED, FAILED_DEFINITE, CANCELLED, EXPIRED. Their last events say since when.
ENDED = text("state IN (4, 7, 8, 9)")

# Apart from the row, which every change rewrites: a mail may be large.
delivery_intents = Table(
    "delivery_intents", metadata, _text("tenant_id", key=True), _text("delivery_id", key=True), _blob("sealed")
)

# Whose turn it is at a recipient: taken with the lease, given back with it.
delivery_locks = Table(
    "delivery_locks", metadata, _text("tenant_id", key=True), _text("recipient_lock", key=True), _text("delivery_id")
)

# Whoever changes a tenant's deliveries holds its one row until the commit: events become visible in their order.
delivery_cursors = Table("delivery_cursors", metadata, _text("tenant_id", key=True), _count("cursor"))

delivery_events = Table(
    "delivery_events",
    metadata,
    _text("tenant_id", key=True),
    _count("cursor", key=True),
    _text("delivery_id"),
    _count("revision"),
    Column("state", Integer, nullable=False),
    _instant("due_at", nullable=True),
    _text("provider_account"),
    Column("body", JSON, nullable=False),
    _instant("at"),
    Index("ix_delivery_events_delivery", "tenant_id", "delivery_id", "cursor"),
    Index("ix_delivery_events_ended", "at", sqlite_where=ENDED, postgresql_where=ENDED),
)

delivery_ids = Table(
    "delivery_ids",
    metadata,
    _text("provider_ref", key=True),
    _text("kind", key=True),
    _text("value", key=True),
    _text("tenant_id", key=True),
    _text("delivery_id", key=True),
    Index("ix_delivery_ids_delivery", "tenant_id", "delivery_id"),
)

delivery_webhooks = Table(
    "delivery_webhooks",
    metadata,
    _text("provider_ref", key=True),
    _text("event_id", key=True),
    _instant("seen_at"),
    Index("ix_delivery_webhooks_seen_at", "seen_at"),
)

# How many messages an account of a provider takes, and what processes hold of that.
delivery_rates = Table(
    "delivery_rates", metadata, _text("provider_ref", key=True), Column("body", JSON, nullable=False)
)

LEDGERS = ("audit_events", "artifacts_ledger")
