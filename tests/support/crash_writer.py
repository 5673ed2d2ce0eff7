"""A writing server to kill: `python -m tests.support.crash_writer URL PREFIX COUNT`.

Prints the id of every transaction after the store acknowledged it, one a line.
"""

from __future__ import annotations

import asyncio
import sys

from tests.support.stores import audit, open_store

TASKS = 4


async def main(url: str, prefix: str, count: int) -> None:
    """Write `count` transactions from a few tasks at once, each a state change with its audit row."""
    store = await open_store(url, prefix=prefix)
    numbers = iter(range(count))

    async def write() -> None:
        for number in numbers:
            name = f"{prefix}-{number}"
            async with store.transaction() as tx:
                await tx.voiceid.devices.set_owner("t1", name, "u1")
                audit(tx, name=name)
            print(name, flush=True)

    await asyncio.gather(*(write() for _ in range(TASKS)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
