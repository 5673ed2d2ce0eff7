"""Where pages begin that go by a time and an id, latest first."""

from __future__ import annotations

from datetime import datetime

from selene.common.v1.paging_pb2 import PageInfo, PageRequest

from servers.runtime.paging import PageTokens, page_token_invalid


def spelled(at: datetime, name: str) -> str:
    """A place, as a page token holds it."""
    return f"{at.isoformat()}|{name}"


def place(tokens: PageTokens, page: PageRequest) -> tuple[datetime, str] | None:
    """Where the page before ended; None for the first page. Refuses with PAGE_TOKEN_INVALID."""
    at, _, name = tokens.after(page).partition("|")
    if not at:
        return None
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        raise page_token_invalid() from None
    if instant.tzinfo is None:
        raise page_token_invalid()
    return instant, name


def following(tokens: PageTokens, spelling: str) -> PageInfo:
    """The page after a place; none after the empty one."""
    return PageInfo(next_page_token=tokens.token(spelling) if spelling else "")
