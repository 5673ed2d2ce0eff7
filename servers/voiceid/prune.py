"""Stage 1 of the decision (VID-5, §38.4): of everyone enrolled, the few worth verifying.

The prune is exact. Embeddings lie dimension by dimension in memory, so that the product streams through the gallery
at memory speed; rows one after another take more than twice as long for the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from selene.voiceid.v1.voiceid_pb2 import VOICE_ID_REASON_MODEL_FAILED

from servers.voiceid.fusion import Ranking, ScoringFailure
from servers.voiceid.policy import DecisionPolicy

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

KEEP = 32
# float32 rounding of a unit vector stays far below this; a vector further off was never normalised.
UNIT_SLACK = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Everyone that a stream may be compared with: one unit vector a profile (its centroid), one version for all.

    `embeddings` is f32[N, D] in column order; N may be 0. Build it with `gallery`.
    """

    user_ids: tuple[str, ...]
    embeddings: Floats
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """Rows of the gallery and their cosines to the query, f32, best first."""

    indices: Indices
    cosines: Floats


class Decisiveness(StrEnum):
    """Whether stage 1 settles the matter by itself."""

    HIGH = "HIGH"
    UNKNOWN = "UNKNOWN"
    NONE = "NONE"


def gallery(user_ids: Sequence[str], embeddings: Floats, version: int) -> Gallery:
    """Copy `embeddings` f32[N, D] into a gallery. Raises ValueError for a row that is no unit vector, a user twice."""
    if embeddings.ndim != 2 or len(user_ids) != len(embeddings):
        raise ValueError("one embedding a user, as rows")
    if len(set(user_ids)) != len(user_ids):
        raise ValueError("a user may be listed once")
    if not bool(np.all(np.abs(np.linalg.norm(embeddings, axis=1) - 1.0) <= UNIT_SLACK)):
        raise ValueError("embeddings must be unit vectors")
    return Gallery(tuple(user_ids), np.array(embeddings, np.float32, order="F"), version)


def prune(query: Floats, among: Gallery, *, keep: int = KEEP, always: Sequence[int] = ()) -> Pruned | ScoringFailure:
    """The `keep` rows nearest to the unit vector `query` f32[D], and the rows `always` (a claimed user, the device's
    owner) however far they are. Equal cosines are ordered by row. A query that is no unit vector of D is a failure.
    """
    if query.shape != among.embeddings.shape[1:] or not abs(float(np.linalg.norm(query)) - 1.0) <= UNIT_SLACK:
        return ScoringFailure(VOICE_ID_REASON_MODEL_FAILED, "the query is no unit vector of the gallery's dimension")
    cosines = among.embeddings @ query
    if keep < len(cosines):
        kept = np.argpartition(cosines, len(cosines) - keep)[len(cosines) - keep :]
        kept = np.union1d(kept, np.asarray(always, np.intp))
    else:
        kept = np.arange(len(cosines))
    order = np.lexsort((kept, -cosines[kept]))
    return Pruned(kept[order], cosines[kept][order])


def decisive(ranking: Ranking, policy: DecisionPolicy) -> Decisiveness:
    """Whether stage 2 can be skipped, from the stage 1 ranking by `Thresholds.prune`.

    HIGH also demands what the ladder demands, so that skipping stage 2 never turns a CONFIRMED into less; UNKNOWN
    demands a score below the ladder. Without limits in the pack nothing is decisive.
    """
    best = ranking.best
    if policy.stage1_high_llr is not None and policy.stage1_margin_llr is not None:
        clear = ranking.margin_to_next_llr >= policy.stage1_margin_llr
        on_top = best.score_bp >= policy.conf_high_bp and ranking.margin_to_next_bp >= policy.min_margin_bp
        if best.llr >= policy.stage1_high_llr and clear and on_top:
            return Decisiveness.HIGH
    if policy.stage1_low_llr is not None and best.llr <= policy.stage1_low_llr and best.score_bp < policy.conf_mid_bp:
        return Decisiveness.UNKNOWN
    return Decisiveness.NONE
