"""Outermost: whatever happens inside ends as a status of the contract, and nothing of the inside reaches the caller."""

import asyncio
from typing import Any

import grpc
import structlog
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.context import Behaviour, Call, Method
from servers.runtime.errors import Refusal, to_status
from servers.runtime.ids import Ids

_log = structlog.get_logger("selene.rpc")


class RecoveryLayer:
    """Turns refusals into their status and anything unforeseen into INTERNAL_ERROR with an incident id.

    A cancellation passes through: the caller is gone, and everything below must get the chance to clean up.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def wrap(self, method: Method, handler: Any, proceed: Behaviour) -> Behaviour:
        async def recover(call: Call) -> bytes | None:
            try:
                reply = await proceed(call)
                await call.finish()
                return reply
            except Refusal as refusal:
                await call.abort_with_status(to_status(refusal))
            except grpc.aio.AbortError:
                raise
            except asyncio.CancelledError as cancellation:
                if _is_cancelled():
                    raise
                await self._abort_internal(call, cancellation)
            except NotImplementedError as missing:
                # What a generated base class does for a method that its servicer leaves out.
                if call.status_code is not grpc.StatusCode.UNIMPLEMENTED:
                    await self._abort_internal(call, missing)
                await call.abort(grpc.StatusCode.UNIMPLEMENTED, "this server does not serve the method")
            except Exception as defect:
                await self._abort_internal(call, defect)
            return None

        return recover

    async def _abort_internal(self, call: Call, defect: BaseException) -> None:
        incident_id = self._ids.new()
        _log.error(
            "internal error",
            incident_id=incident_id,
            method=call.method.path,
            correlation_id=call.correlation.correlation_id,
            exc_info=defect,
        )
        refusal = Refusal(reasons.ERROR_REASON_INTERNAL_ERROR, "internal error", incident_id=incident_id)
        await call.abort_with_status(to_status(refusal))


def _is_cancelled() -> bool:
    """Whether this RPC was cancelled, rather than something that it awaited having been cancelled by someone else."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
