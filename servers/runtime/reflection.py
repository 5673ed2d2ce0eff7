"""Server reflection, v1 and v1alpha: the two differ in nothing but the name of their package."""

from collections.abc import Sequence
from typing import Any, Final

import grpc
from google.protobuf import descriptor, descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import (
    reflection,
    reflection_pb2,
)

SERVICE_V1: Final = "grpc.reflection.v1.ServerReflection"
SERVICE_V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"

_FILE_V1 = "grpc/reflection/v1/reflection.proto"


def add_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Lets clients such as ``grpcurl`` read the contracts of the services, and everything that these import."""
    _describe_v1(descriptor_pool.Default())
    pool = _SymbolPool(descriptor_pool.Default())
    names = [*services, SERVICE_V1, SERVICE_V1ALPHA]
    reflection.enable_server_reflection(names, server, pool=pool)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names, pool=pool).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE_V1, {"ServerReflectionInfo": handler}),)
    )


class _SymbolPool:
    """A descriptor pool that finds methods, fields and enum values too, through what they are part of."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> descriptor.FileDescriptor:
        """Raises KeyError if neither the symbol nor what it would be part of exists."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindFileContainingSymbol(symbol.rpartition(".")[0])


def _describe_v1(pool: descriptor_pool.DescriptorPool) -> None:
    """Adds v1's own description, which the wheel does not carry, so that reflection can describe itself."""
    try:
        pool.FindFileByName(_FILE_V1)
    except KeyError:
        alpha = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
        pool.AddSerializedFile(_renamed(alpha).SerializeToString())


def _renamed(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    file.name, file.package = _FILE_V1, "grpc.reflection.v1"
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return file
