"""OpenBao, or HashiCorp Vault, as the backend: the store keeps what is known of a secret, never the secret."""

from __future__ import annotations

from collections.abc import Sequence

from servers.runtime.openbao import OpenBao
from servers.runtime.secrets import OpenBaoSettings


class OpenBaoKeystore:
    """KV v2: one path a handle, one version there a version of the secret."""

    name = "vault"

    def __init__(self, settings: OpenBaoSettings) -> None:
        self._openbao = OpenBao(settings)

    async def available(self) -> bool:
        """Whether it is unsealed and accepts the credential."""
        return await self._openbao.answers()

    async def keep(self, handle: str, secret: bytes) -> int | None:
        """Written there as the next version of its path."""
        return await self._openbao.write(handle, secret)

    async def destroy(self, handle: str, numbers: Sequence[int]) -> None:
        """Destroyed there, not only deleted: nothing of them can be brought back."""
        await self._openbao.destroy(handle, numbers)

    async def close(self) -> None:
        """Let go of it."""
        await self._openbao.close()
