"""How an adapter comes by its secret: asked for each call, under a lease, and never kept (§26)."""

from __future__ import annotations

from typing import Protocol


class CredentialUnavailable(Exception):
    """No lease of the secret could be had. The text says why and nothing of the secret."""


class Credential(Protocol):
    """The secret of one provider."""

    async def reveal(self) -> str:
        """The secret as it is now, for the one call that needs it. CredentialUnavailable."""
        ...
