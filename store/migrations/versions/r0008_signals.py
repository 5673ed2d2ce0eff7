"""Signals as they were captured, and how far each stream of them is."""

from __future__ import annotations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables."""
