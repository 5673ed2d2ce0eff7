"""Wake-ups over a real NATS server: they save time, and nothing depends on them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_SENT_ACKED, Delivery

from tests.support.deliveries import posting, text
from tests.support.simulators.plain_delivery import KEYED, PlainAdapter, provider

SERVER = Path(sys.executable).parent / "nats-server"
LONG_S = 60.0


@contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """A server with JetStream on a port of its own; its url."""
    folder.mkdir()
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\n'
        f'jetstream {{ store_dir: "{folder / "streams"}", sync_interval: always }}\n'
    )
    with subprocess.Popen([SERVER, "-c", config], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while not (found := list(folder.glob("*.ports"))) or not found[0].read_text():
                assert time.monotonic() < deadline, "the NATS server did not come up"
                time.sleep(0.02)
            yield json.loads(found[0].read_text())["nats"][0]
        finally:
            process.kill()


async def test_a_dispatcher_of_another_process_is_woken_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with nats_server(tmp_path / "nats") as url:
        flags = {"owners.delivery.nats.url": url}
        async with provider() as simulator:
            adapters = [PlainAdapter("plain/sms", simulator.url, KEYED)]
            others = [PlainAdapter("plain/sms", simulator.url, KEYED)]
            async with (
                posting(home, adapters, flags=flags, dispatch={"poll_s": LONG_S}),
                posting(home, others, flags=flags, dispatch={"enabled": False}) as accepting,
            ):
                until = time.monotonic() + LONG_S / 2
                sent: list[Delivery] = []
                # The first may be taken on before both are connected; one that is heard of wakes for all.
                while not simulator.accepted:
                    sent.append(await accepting.send(text(f"m{len(sent)}")))
                    await asyncio.sleep(0.1)
                    assert time.monotonic() < until
                await accepting.until(sent[0].delivery_id, DELIVERY_STATE_SENT_ACKED, within=LONG_S / 2)


async def test_without_nats_everything_goes_out_all_the_same(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as url:
        pass
    async with provider() as simulator:
        adapters = [PlainAdapter("plain/sms", simulator.url, KEYED)]
        async with posting(tmp_path / "home", adapters, flags={"owners.delivery.nats.url": url}) as post:
            delivery = await post.send(text("m1"))
            await post.until(delivery.delivery_id, DELIVERY_STATE_SENT_ACKED)
            assert simulator.accepted == [delivery.delivery_id]
