"""The one interceptor that grpc knows: it wraps each method's handler in the layers and keeps the result."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias

import grpc

from servers.runtime.context import Behaviour, Call, Method

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Lookup: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Lookup]]


class Layer(Protocol):
    """One concern around a method's behaviour."""

    def wrap(self, method: Method, handler: Handler, proceed: Behaviour) -> Behaviour:
        """The behaviour with this concern around it; called once per method."""
        ...


class Chain(grpc.aio.ServerInterceptor):
    """Applies the layers, the first one outermost, to every method that the server has."""

    def __init__(self, layers: Sequence[Layer], settle_s: float) -> None:
        self._layers = tuple(layers)
        self._settle_s = settle_s
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Lookup:
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:  # not a method of this server: grpc answers UNIMPLEMENTED, and nothing is kept
            return handler
        return self._wrapped.setdefault(path, self._wrap(path, handler))

    def _wrap(self, path: str, handler: Handler) -> Handler:
        method = Method(path, bool(handler.request_streaming), bool(handler.response_streaming))
        behaviour = _service(method, handler)
        for layer in reversed(self._layers):
            behaviour = layer.wrap(method, handler, behaviour)
        return _as_handler(method, behaviour, self._settle_s)


def _service(method: Method, handler: Handler) -> Behaviour:
    """The handler itself as a behaviour, whichever of grpc's styles it is written in."""
    serve: Callable[[Any, Call], Any] = getattr(handler, method.kind)
    serialize: Callable[[Any], bytes] = handler.response_serializer or (lambda message: message)

    async def unary_reply(call: Call) -> bytes:
        request = call.messages() if method.client_streaming else call.message
        reply = serve(request, call)
        return serialize(await reply if inspect.isawaitable(reply) else reply)

    async def streamed_reply(call: Call) -> None:
        call.serialize = serialize
        request = call.messages() if method.client_streaming else call.message
        replies = serve(request, call)
        if inspect.isawaitable(replies):
            await replies
            return
        async with aclosing(replies):
            async for reply in replies:
                await call.write(reply)

    return streamed_reply if method.server_streaming else unary_reply


def _as_handler(method: Method, behaviour: Behaviour, settle_s: float) -> Handler:
    """The behaviour as grpc wants it: raw bytes in and out, so nothing is parsed or serialized outside the layers."""

    async def with_message(message: bytes, context: Any) -> bytes | None:
        return await behaviour(Call(method, context, message, settle_s))

    async def with_stream(_: Any, context: Any) -> bytes | None:
        return await behaviour(Call(method, context, None, settle_s))

    make = getattr(grpc, f"{method.kind}_rpc_method_handler")
    wrapped: Handler = make(with_stream if method.client_streaming else with_message)
    return wrapped
