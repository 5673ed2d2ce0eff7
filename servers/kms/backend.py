"""Where the versions of secrets are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from servers.runtime.secrets import BackendUnavailable, Silence


class Backend(Protocol):
    """What the secrets owner asks of a keystore; never within a transaction, which a silent one would hold open."""

    name: str
    """As `GetSealingKeyResponse.backend` tells it."""

    async def available(self) -> bool:
        """Whether it would keep and give secrets right now. Never raises."""

    async def keep(self, handle: str, secret: bytes) -> int | None:
        """Keep the next version; its number here. None where the store itself is to keep it. BackendUnavailable."""

    async def destroy(self, handle: str, numbers: Sequence[int]) -> None:
        """Destroy versions that were kept here, for good; again is no error. BackendUnavailable."""

    async def close(self) -> None:
        """Let go of every connection and thread."""


class LocalKeystore:
    """The store itself: each version under a data key of its own, wrapped by the master key.

    Available whenever the store is; a store that is not refuses the transaction. `before` is the backend that kept
    secrets before this one was configured, where the settings still name it.
    """

    name = "local"

    def __init__(self, before: Backend | None = None) -> None:
        self._before = before

    async def available(self) -> bool:
        """Always."""
        return True

    async def keep(self, handle: str, secret: bytes) -> int | None:
        """None: sealed into the transaction that makes it known."""
        return None

    async def destroy(self, handle: str, numbers: Sequence[int]) -> None:
        """What the backend before this one kept is destroyed there."""
        if self._before is None:
            raise BackendUnavailable(Silence.NOT_CONFIGURED)
        await self._before.destroy(handle, numbers)

    async def close(self) -> None:
        """Let go of the backend before this one."""
        if self._before is not None:
            await self._before.close()
