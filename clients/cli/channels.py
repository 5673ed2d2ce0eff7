"""The table of `selene deliver status`: how many deliveries are where, by channel, and the providers' circuits."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from selene_messages.selene.delivery import v1
from selene_messages.selene.routing import v1 as routing

from clients.cli import standings
from clients.cli.senders import NO_ACCOUNT
from clients.cli.standings import Standing
from clients.delivery import Deliveries
from clients.errors import SeleneError
from clients.routing import Circuits
from clients.wire import to_document

COUNTED: Final = 1000
"""Of each state, so many of the latest deliveries are counted: a backlog must not be read whole once a second."""
_COLUMNS: Final[Mapping[str, tuple[v1.DeliveryState, ...]]] = {
    "waiting": (v1.DeliveryState.ACCEPTED, v1.DeliveryState.LEASED),
    "sending": (v1.DeliveryState.SENDING,),
    "to retry": (v1.DeliveryState.RETRYABLE,),
    "UNKNOWN": (v1.DeliveryState.UNKNOWN,),
    "sent": (v1.DeliveryState.SENT_ACKED,),
    "failed": (v1.DeliveryState.FAILED_DEFINITE,),
    "cancelled": (v1.DeliveryState.CANCELLED,),
    "expired": (v1.DeliveryState.EXPIRED,),
}
_STYLES: Final = {"UNKNOWN": "bold magenta", "failed": "bold red", "expired": "red", "to retry": "yellow"}
_CHANNELS: Final = tuple(each for each in v1.DeliveryChannel if each)
_STATES: Final = tuple(each for each in v1.DeliveryState if each)


@dataclass(frozen=True, slots=True)
class Seen:
    """How it stood once. ``more`` are states of which not all were counted."""

    counts: Mapping[tuple[v1.DeliveryChannel, v1.DeliveryState], int]
    more: frozenset[v1.DeliveryState]
    standing: Standing


async def look(deliveries: Deliveries, circuits: Circuits, subject: routing.RoutingSubject) -> Seen:
    """How it stands. SeleneError where not even the deliveries can be read."""
    found, standing = await asyncio.gather(
        asyncio.gather(*(_counted(deliveries, state) for state in _STATES)), _standing(circuits, subject)
    )
    counts = {
        (channel, state): count
        for state, by_channel in zip(_STATES, found, strict=True)
        for channel, count in by_channel.items()
    }
    more = frozenset(state for state, each in zip(_STATES, found, strict=True) if each.total() == COUNTED)
    return Seen(counts, more, standing)


async def _counted(deliveries: Deliveries, state: v1.DeliveryState) -> Counter[v1.DeliveryChannel]:
    counted: Counter[v1.DeliveryChannel] = Counter()
    async with aclosing(deliveries.list(state=state, page_size=COUNTED)) as found:
        async for delivery in found:
            counted[delivery.channel] += 1
            if counted.total() == COUNTED:
                break
    return counted


async def _standing(circuits: Circuits, subject: routing.RoutingSubject) -> Standing:
    try:
        return Standing("delivery", await circuits.providers(subject))
    except SeleneError as error:
        return Standing("delivery", error)


def document(seen: Seen) -> dict[str, Any]:
    """For `--json`."""
    reply = seen.standing.reply
    return {
        "channels": [
            {
                "channel": channel.name,
                "states": {state.name: seen.counts.get((channel, state), 0) for state in _STATES},
            }
            for channel in _CHANNELS
        ],
        "more": sorted(state.name or "?" for state in seen.more),
        "circuits": reply.document() if isinstance(reply, SeleneError) else to_document(reply),
    }


def rendered(seen: Seen, console: Console) -> Group:
    """Both tables, as wide as ``console`` has room for."""
    counts = Table(box=None, pad_edge=False)
    counts.add_column("channel")
    for heading in _COLUMNS:
        counts.add_column(heading, justify="right")
    for channel in _CHANNELS:
        counts.add_row(channel.name or "?", *(_cell(seen, channel, heading) for heading in _COLUMNS))
    reply = seen.standing.reply
    lacking = [] if isinstance(reply, SeleneError) else standings.advice(reply.providers, NO_ADAPTER=NO_ACCOUNT)
    return Group(counts, Text(), standings.table([seen.standing], console), *lacking)


def _cell(seen: Seen, channel: v1.DeliveryChannel, heading: str) -> Text:
    states = _COLUMNS[heading]
    count = sum(seen.counts.get((channel, state), 0) for state in states)
    # Where not all were counted, none counted is not none there.
    more = "+" if seen.more.intersection(states) else ""
    if not count and not more:
        return Text("0", style="dim")
    return Text(f"{count:,}{more}", style=_STYLES.get(heading, ""))
