"""The cohorts of canaries (§29), as governance draws them: the rule of `servers.cohort`, which every owner may ask."""

from __future__ import annotations

from servers.cohort import PLACES, place_bp, serves

__all__ = ["PLACES", "place_bp", "serves"]
