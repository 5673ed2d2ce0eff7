"""Who is in a canary (§29): a hash of the rollout and the subject, so that nobody changes sides.

The hash gives each subject a place from 0 to 9999; a share of n basis points takes the places below n. So a larger
share holds everyone of a smaller one, and different rollouts draw differently. The share is that of
`store.governance.rollouts.canaries`.
"""

from __future__ import annotations

from typing import Final

from servers.framing import framed_digest

PLACES: Final = 10_000


def place_bp(rollout_id: str, subject: str) -> int:
    """The subject's place in a rollout, 0 to 9999."""
    digest = framed_digest("selene.rollout-cohort", rollout_id, subject)
    return int.from_bytes(digest[:8], "big") % PLACES


def serves(rollout_id: str, subject: str, share_bp: int) -> bool:
    """Whether the candidate serves this subject at a share of `share_bp` basis points."""
    return place_bp(rollout_id, subject) < share_bp
