"""Packs (§10, §11): what a gold set becomes for its consumers. Pure: items in, bytes out.

Only what all labels of an item agree about goes in. `empty` is the pack that changes nothing, which the first one of a
line returns to.
"""

from __future__ import annotations

from servers.learning.packs.build import BUILDERS, BuildFailed, Source, build, empty, orphans, routed_types

__all__ = ["BUILDERS", "BuildFailed", "Source", "build", "empty", "orphans", "routed_types"]
