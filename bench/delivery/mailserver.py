"""A mail server that takes everything and keeps a ledger of it, in a process of its own: the judge of duplicates.

    python -m bench.delivery.mailserver

Prints its port as a line of JSON; for each line that it reads it prints the ledger as it is. It speaks as much of RFC
5321 as a client needs, and no more, so that it is never what holds up the measurement.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Final

_MESSAGE_ID: Final = re.compile(rb"(?im)^message-id:\s*(<[^>\r\n]+>)")
_GREETING: Final = b"220 bench ready\r\n"
_END: Final = b"\r\n.\r\n"
_ANSWERS: Final = {
    b"EHLO": b"250-bench\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    b"HELO": b"250 bench\r\n",
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


@dataclass(slots=True)
class Ledger:
    """What was taken, by Message-ID. ``anonymous`` mails had none."""

    taken: Counter[bytes] = field(default_factory=Counter)
    anonymous: int = 0

    def take(self, mail: bytes) -> None:
        """One mail was taken."""
        found = _MESSAGE_ID.search(mail.partition(b"\r\n\r\n")[0] + b"\r\n")
        if found is None:
            self.anonymous += 1
        else:
            self.taken[found[1]] += 1

    def told(self) -> Told:
        """The ledger in figures."""
        accepted = self.taken.total() + self.anonymous
        return Told(accepted, len(self.taken), self.taken.total() - len(self.taken), self.anonymous)


@dataclass(frozen=True, slots=True)
class Told:
    """Mails taken in all, different ones, those that were one too many, and those that nobody can tell apart."""

    accepted: int
    distinct: int
    duplicates: int
    anonymous: int


class Talk(asyncio.Protocol):
    """One connection. Commands may come one after the other without waiting for answers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._came = b""
        self._in_mail = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(_GREETING)

    def data_received(self, data: bytes) -> None:
        self._came += data
        while self._step():
            pass

    def _step(self) -> bool:
        assert self._transport is not None
        end = _END if self._in_mail else b"\r\n"
        said, found, rest = self._came.partition(end)
        if not found:
            return False
        self._came = rest
        if self._in_mail:
            self._in_mail = False
            self._ledger.take(said)
            self._transport.write(b"250 2.0.0 queued as %d\r\n" % (10_000 + self._ledger.taken.total()))
            return True
        verb = said[:4].upper()
        self._transport.write(_ANSWERS.get(verb, b"502 5.5.1 what?\r\n"))
        self._in_mail = verb == b"DATA"
        if verb == b"QUIT":
            self._transport.close()
        return True


async def _serve() -> None:
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Talk(ledger), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(asdict(ledger.told())), flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
