"""Secrets of vendors for tests, and the search for what should have forgotten them."""

from __future__ import annotations

import asyncio
import gc
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType

from servers.routing.credentials import CredentialUnavailable


class RotatingKey:
    """A Credential whose secret is another one after `rotate`; made when it is asked for, and kept nowhere here."""

    def __init__(self, name: str = "canary") -> None:
        self._name = name
        self._version = 1
        self.revealed = 0
        self.available = True

    @property
    def secret(self) -> str:
        """The secret as it is now."""
        return f"sk-{self._name}-{self._version}-" + "0123456789abcdef"

    def rotate(self) -> None:
        self._version += 1

    async def reveal(self) -> str:
        """See `servers.routing.credentials.Credential`."""
        if not self.available:
            raise CredentialUnavailable("no lease")
        self.revealed += 1
        return self.secret


_ELSEWHERE = (ModuleType, type, FunctionType, BuiltinFunctionType, FrameType, asyncio.AbstractEventLoop, asyncio.Future)


def keeps(root: object, secret: str) -> bool:
    """Whether anything that an object refers to, however indirectly, is or contains the secret."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, _ELSEWHERE):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, str) and secret in thing:
            return True
        if isinstance(thing, bytes | bytearray) and secret.encode() in thing:
            return True
        waiting.extend(gc.get_referents(thing))
    return False
