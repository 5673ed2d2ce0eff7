"""Decisions, approvals, rollouts, judged windows, consent and its revocation."""

from __future__ import annotations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the tables."""
