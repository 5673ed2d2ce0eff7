"""The table of `selene deliver channels`: who sends over each channel, what each lacks, what each promises."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from selene_messages.selene.delivery import v1
from selene_messages.selene.routing import v1 as routing

from clients.cli import standings
from clients.wire import to_document

_WIDE: Final = (
    "channel", "", "provider", "available", "circuit", "why", "retry at", "errors", "samples", "same key", "looks up",
    "reports", "takes back",
)  # fmt: skip
_NARROW: Final = ("channel", "", "provider", "available", "circuit", "why")
NO_ACCOUNT: Final = "on the server, configure its account under owners.delivery.accounts"
"""What can be done about NO_ADAPTER where messages are sent."""
NOTHING: Final = "Nothing can be sent yet: no account is configured. In the server's configuration file, one such as"
_EXAMPLES: Final = {
    "smtp/primary": ('host = "smtp.example.org"', 'sender = "post@example.org"'),
    "": ("# what it wants: README.md, Delivery",),
}
"""The least that an account wants, by provider; "" where it is another one."""
_LACKING: Final = (routing.Availability.NOT_CONFIGURED, routing.Availability.UNSPECIFIED)
_ROOM: Final = 1000
"""Columns, more than any table asks for: what it would take if it could."""


def document(channels: Sequence[v1.ChannelStanding]) -> dict[str, Any]:
    """For `--json`."""
    return {"channels": [to_document(each) for each in channels]}


def rendered(channels: Sequence[v1.ChannelStanding], console: Console) -> Group:
    """The table, as wide as ``console`` has room for, and below it what can be done where something lacks."""
    rows = [row for channel in channels for row in _rows(channel)]
    wide = _table(_WIDE, rows)
    fits = console.measure(wide, options=console.options.update(width=_ROOM)).maximum <= console.width
    providers = [each.standing for channel in channels for each in channel.providers if each.standing]
    advice = [*standings.advice(providers, NO_ADAPTER=NO_ACCOUNT), *_begin(channels)]
    return Group(wide if fits else _table(_NARROW, rows), *advice)


def _begin(channels: Sequence[v1.ChannelStanding]) -> list[Text]:
    """How to begin where nobody who is shown can send anything: an account, its secret, the server again."""
    of = {each.standing.provider_ref: channel for channel in channels for each in channel.providers if each.standing}
    standing = [each.standing for channel in channels for each in channel.providers if each.standing]
    if not of or any(each.availability not in _LACKING or each.reason_code != "NO_ADAPTER" for each in standing):
        return []
    provider = next((name for name in of if name in _EXAMPLES), next(iter(of)))
    handle = f"kms://delivery/{of[provider].channel.name.lower()}/{provider.partition('/')[0]}"
    lines = [
        "",
        NOTHING,
        f'  [owners.delivery.accounts."{provider}"]',
        *(f"  {line}" for line in _EXAMPLES.get(provider, _EXAMPLES[""])),
        "then its secret, and start the server again with --config FILE:",
        f"  selene secrets put {handle} -e dev -g delivery < secret.txt",
    ]
    return [Text(line) for line in lines]


def _table(headings: Sequence[str], rows: Iterable[dict[str, RenderableType]]) -> Table:
    made = Table(box=None, pad_edge=False)
    for heading in headings:
        made.add_column(heading, no_wrap=heading != headings[-1])
    for row in rows:
        made.add_row(*(row.get(heading, "") for heading in headings))
    return made


def _rows(channel: v1.ChannelStanding) -> list[dict[str, RenderableType]]:
    name = channel.channel.name or "?"
    if not channel.providers:
        return [{"channel": name, "provider": Text("-", style="dim"), "why": Text(channel.refusal)}]
    return [
        {
            "channel": name if index == 0 else "",
            **standings.row(each.standing or routing.ProviderStanding(), routing.Domain.UNSPECIFIED),
            **_promised(each.promise),
        }
        for index, each in enumerate(channel.providers)
    ]


def _promised(promise: v1.ProviderPromise | None) -> dict[str, RenderableType]:
    if promise is None:
        return {}
    return {
        "same key": _told(_span(promise.key_window) if promise.key_window else ""),
        "looks up": _told("yes" if promise.looks_up else ""),
        "reports": _told("yes" if promise.reports else ""),
        "takes back": _told("yes" if promise.takes_back else ""),
    }


def _told(text: str) -> Text:
    return Text(text) if text else Text("no", style="yellow")


def _span(window: timedelta) -> str:
    """For how long a second request under the same key is taken for the first."""
    hours = window.total_seconds() / 3600
    return f"{hours / 24:g} d" if hours >= 48 else f"{hours:g} h"
