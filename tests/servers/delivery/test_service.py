"""The edge of delivery over gRPC: accepted is durable, and what happens is seen."""

from __future__ import annotations

from pathlib import Path

from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_ACCEPTED, DELIVERY_STATE_SENDING, DELIVERY_STATE_SENT_ACKED

from tests.support.deliveries import posting, text
from tests.support.simulators.plain_delivery import KEYED, PlainAdapter, provider


async def test_a_text_goes_out_once_and_the_watch_shows_it(tmp_path: Path) -> None:
    async with provider() as simulator, posting(tmp_path, [PlainAdapter("plain/sms", simulator.url, KEYED)]) as post:
        taken_on = await post.send(text("m1", "how are you"))
        assert taken_on.state == DELIVERY_STATE_ACCEPTED
        events = await post.watched(3)
        states = [event.delivery.state for event in events]
        assert states == [DELIVERY_STATE_ACCEPTED, DELIVERY_STATE_SENDING, DELIVERY_STATE_SENT_ACKED]
        assert [taken.text for taken in simulator.ledger] == ["how are you"]
        assert simulator.accepted == [taken_on.delivery_id]
        assert events[-1].delivery.attempts[0].provider_ack_ref == "m-1"
