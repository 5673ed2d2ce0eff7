"""The one retry loop of the client: where a replay is safe, jittered, as the server asks, never past the deadline."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc
import tenacity
from google.protobuf.message import Message

from clients.errors import SeleneError, naming_errors

T = TypeVar("T")

_READ_PREFIXES: Final = ("Get", "List", "Verify", "Check", "Validate", "Explain", "ResolveProfile")
_OWN_KEY: Final = frozenset(
    {"selene.delivery.v1.SendRequest", "selene.delivery.v1.SendBatchRequest", "selene.delivery.v1.ReconcileRequest"}
)
"""Mutations that come to the same however often they are asked for: an intent is its own idempotency key."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently. Times in seconds.

    ``attempt_timeout`` bounds one attempt inside the caller's deadline, so that there is time left to ask again.
    """

    attempts: int = 4
    first_wait: float = 0.1
    longest_wait: float = 2.0
    attempt_timeout: float = 5.0
    codes: frozenset[grpc.StatusCode] = frozenset(
        {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }
    )


NO_RETRY: Final = RetryPolicy(attempts=1, attempt_timeout=float("inf"))


def replay_is_safe(request: Message) -> bool:
    """A read, or a mutation whose idempotency key makes its replay return the first result (ALL-4)."""
    if "idempotency_key" in request.DESCRIPTOR.fields_by_name:
        return bool(getattr(request, "idempotency_key"))  # noqa: B009 - the field is known to this message only at run time
    return request.DESCRIPTOR.full_name in _OWN_KEY or request.DESCRIPTOR.name.startswith(_READ_PREFIXES)


async def call(
    attempt: Callable[[float], Awaitable[T]],
    *,
    within: float,
    policy: RetryPolicy,
    may_retry: Callable[[SeleneError], bool] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> T:
    """Awaits ``attempt(seconds left to it)`` until it succeeds, for ``within`` seconds; raises the last SeleneError.

    ``may_retry`` decides which errors may be tried again; unset, those whose code is in ``policy.codes``.
    """
    deadline = monotonic() + within

    def wanted(error: BaseException) -> bool:
        if not isinstance(error, SeleneError):
            return False
        return may_retry(error) if may_retry else error.code in policy.codes

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(wanted),
        wait=_Wait(policy),
        stop=lambda state: state.attempt_number >= policy.attempts or monotonic() + state.upcoming_sleep >= deadline,
        reraise=True,
    )

    async def once() -> T:
        with naming_errors():
            return await attempt(min(policy.attempt_timeout, deadline - monotonic()))

    return await retrying(once)


class _Wait(tenacity.wait.wait_base):
    """Full jitter over an exponential, but at least what the server asks for."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._jitter = tenacity.wait_random_exponential(multiplier=policy.first_wait, max=policy.longest_wait)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, SeleneError) else 0.0
        return asked + self._jitter(retry_state)
