"""`answering` and `streaming` for a whole server: for services made from generated code."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from cloud.rpc.answering import answering, streaming

type Handler = grpc.RpcMethodHandler[Any, Any]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns errors of the catalogue into statuses; each method is wrapped once and remembered."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler that the server will call."""
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is None:
            handler = await continuation(handler_call_details)
            if handler is None:  # no such method: the server answers UNIMPLEMENTED
                return None
            known = self._wrapped[method] = _wrap(handler)
        return known


def _wrap(handler: Handler) -> Handler:
    forms: dict[tuple[bool, bool], tuple[Callable[..., Handler], Any, Any]] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary, answering),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream, streaming),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary, answering),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream, streaming),
    }
    make, method, wrap = forms[handler.request_streaming, handler.response_streaming]
    return make(wrap(method), handler.request_deserializer, handler.response_serializer)
