"""Pages of a list: how many rows, where a page begins, and a token that only its own list understands."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.paging_pb2 import PageRequest

from servers.runtime.errors import Refusal

DEFAULT_PAGE: Final = 100
_MOST_DIGITS: Final = 18
"""Of a place that is a number: what any database holds."""


def page_size(page: PageRequest) -> int:
    """Rows wanted."""
    return page.page_size or DEFAULT_PAGE


class PageTokens:
    """The tokens of one list. `name` keeps them apart from every other list's."""

    def __init__(self, name: str) -> None:
        self._prefix = f"{name}:".encode()

    def after(self, page: PageRequest) -> str:
        """The place of the last row that was seen; empty for the first page. Refuses with PAGE_TOKEN_INVALID."""
        if not page.page_token:
            return ""
        try:
            token = base64.b64decode(page.page_token.encode(), altchars=b"-_", validate=True)
            # A NUL is in no id: PostgreSQL would refuse to look for it.
            if token.startswith(self._prefix) and token != self._prefix and b"\0" not in token:
                return token.removeprefix(self._prefix).decode()
        except (binascii.Error, UnicodeError):
            pass
        raise page_token_invalid()

    def after_number(self, page: PageRequest) -> int:
        """The same where places are numbers from 1 on; 0 for the first page."""
        place = self.after(page)
        if place and not (place.isascii() and place.isdigit() and len(place) <= _MOST_DIGITS):
            raise page_token_invalid()
        return int(place or 0)

    def token(self, place: str) -> str:
        """The token of the page that follows the row at `place`."""
        return base64.urlsafe_b64encode(self._prefix + place.encode()).decode()


def page_token_invalid() -> Refusal:
    """PAGE_TOKEN_INVALID."""
    return Refusal(reasons.ERROR_REASON_PAGE_TOKEN_INVALID, "this list gave out no such page token")
