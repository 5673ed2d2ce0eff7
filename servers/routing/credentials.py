"""How an adapter comes by its secret: asked for each call, under a lease, and never kept (§26)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class CredentialUnavailable(Exception):
    """No lease of the secret could be had. The text says why and nothing of the secret."""


class Credential(Protocol):
    """The secret of one provider."""

    async def reveal(self) -> str:
        """The secret as it is now, for the one call that needs it. CredentialUnavailable."""
        ...


@runtime_checkable
class Overlapping(Credential, Protocol):
    """A secret that others use, who learn of the next one at another time than we do."""

    async def reveal_before(self) -> str | None:
        """The secret before the present one, as long as its overlap lasts; None where there is none."""
        ...
