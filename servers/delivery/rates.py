"""What provider accounts take (§25), shared by processes: each draws a share ahead of what it sends. Pure.

The bucket of an account holds what is free and what is out in shares. A token that is out fills again only once it is
known to be used, and from then: so all processes together never send more than ``capacity`` at once, nor more than
``refill_per_s`` in the long run, whoever holds what. A holder that falls silent has used its share, for all that is
known. Times are seconds since the epoch, of clocks that differ by ``SKEW_S`` at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from servers.delivery.schedule import account_bucket
from servers.routing.gates import Bucket, take
from servers.routing.slices import top_up

HELD_S: Final = 2.0
"""A share is used within this time of the exchange that gave it, or not at all."""
SKEW_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Share:
    """Tokens that a holder may use until then."""

    tokens: int
    until: float


@dataclass(frozen=True, slots=True)
class Account:
    """A bucket, with the shares of it that are out, by holder."""

    bucket: Bucket
    shares: Mapping[str, Share]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The account afterwards, the holder's share of it, and the seconds until there may be a token for whoever got less
    than it wanted; infinite where there never will be.
    """

    account: Account
    share: Share
    wait_s: float


def exchange(account: Account, holder: str, used: Sequence[float] | None, wanted: int, now: float) -> Exchanged:
    """A holder tells when it used tokens of its share, None where it no longer knows, and wants so many from now on."""
    bucket = account.bucket
    others: dict[str, Share] = {}
    for name, share in account.shares.items():
        if name != holder and share.until + SKEW_S > now:
            others[name] = share
        elif name != holder:
            bucket = _spent(bucket, now, share.tokens)
    own = account.shares.get(holder, Share(0, now))
    times = [now] * own.tokens if used is None else sorted(used)[: own.tokens]
    for at in times:
        bucket = _spent(bucket, at, 1)
    bucket, _ = take(bucket, now, 0.0)
    left = min(own.tokens - len(times), wanted)
    free = bucket.tokens - sum(share.tokens for share in others.values()) - left
    more = int(top_up(held=left, target=wanted, largest=1, smallest=1, there=free))
    share = Share(left + more, now + HELD_S)
    shares = {**others, holder: share} if share.tokens else others
    wait_s = 0.0 if share.tokens >= wanted else _until_one(bucket, free - more)
    return Exchanged(Account(bucket, shares), share, wait_s)


def _spent(bucket: Bucket, at: float, tokens: int) -> Bucket:
    """What was used earlier than the bucket was last looked at fills again from then only."""
    filled, _ = take(bucket, max(at, bucket.at), 0.0)
    return replace(filled, tokens=filled.tokens - tokens)


def _until_one(bucket: Bucket, free: float) -> float:
    return max(0.0, 1 - free) / bucket.refill_per_s if bucket.refill_per_s > 0 else float("inf")


def kept(account: Account) -> dict[str, Any]:
    """As JSON keeps it."""
    shares = {name: [share.tokens, share.until] for name, share in account.shares.items()}
    return {"tokens": account.bucket.tokens, "at": account.bucket.at, "shares": shares}


def account_of(body: Mapping[str, Any], per_s: float, burst: float, now: float) -> Account:
    """What was kept, under these limits; full where nothing was kept yet. KeyError, TypeError, ValueError."""
    full = account_bucket(per_s, burst, now)
    if not body:
        return Account(full, {})
    shares = {str(name): Share(int(tokens), float(until)) for name, (tokens, until) in body["shares"].items()}
    return Account(replace(full, tokens=float(body["tokens"]), at=float(body["at"])), shares)
