"""Refusals of calls that were still writing, as the server gave them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from clients.duplex import Ending


@asynccontextmanager
async def as_given(call: Any) -> AsyncIterator[None]:
    """An AioRpcError of `call` raised inside says what the server said, also where a write was cut short by it.

    Enter before anything else is awaited: a status that came earlier is not seen.
    """
    ending = Ending(call)
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise await ending.unmask(error) from error
