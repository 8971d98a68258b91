"""What a Python program needs to speak to Lockport: grpcio, and what the server
says of itself by reflection. There is no generated code and no .proto file.
"""

import queue

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "lockport.lock.v1.LockService"
OLDER = "lock_manager.LockManagerService"
HEALTH = "grpc.health.v1.Health"

# How long anything may take at most, in seconds.
BOUND = 30


class Refused(Exception):
    """A call that was refused: its code, and the reason in its ErrorInfo."""

    def __init__(self, error):
        self.code = error.code()
        self.message = error.details()
        self.domain, self.reason = error_info(error)
        super().__init__(f"{self.code} {self.domain} {self.reason}: {self.message}")


class Server:
    """A connection to a server, and the types that it has told us."""

    def __init__(self, address, token=None):
        self.channel = grpc.insecure_channel(address)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []
        self.reflection = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.reflection)

    def services(self):
        return set(self.reflection.get_services())

    def message(self, name):
        """The class of a message type."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def method(self, service, name):
        """A method: a function of fields for a unary one, of an iterator for a
        stream of requests. What a stream answers is iterated over."""
        method = self.pool.FindServiceByName(service).FindMethodByName(name)
        request = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)
        as_proto = descriptor_pb2.MethodDescriptorProto()
        method.CopyToProto(as_proto)
        path = f"/{service}/{name}"
        many_in, many_out = as_proto.client_streaming, as_proto.server_streaming
        make = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, True): self.channel.stream_stream,
        }[many_in, many_out]
        call = make(
            path,
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        if many_in:
            return lambda requests: call(requests, metadata=self.metadata)
        if many_out:
            return lambda **fields: call(request(**fields), metadata=self.metadata)

        def unary(**fields):
            try:
                return call(request(**fields), metadata=self.metadata, timeout=BOUND)
            except grpc.RpcError as error:
                raise Refused(error) from error

        return unary

    def locks(self, name):
        """A method of the lock API."""
        return self.method(SERVICE, name)


class Session:
    """A session's stream."""

    def __init__(self, server, **options):
        self.request = server.message("lockport.lock.v1.SessionRequest")
        self.requests = queue.SimpleQueue()
        self.last_id = 0
        self.send(open=options)
        self.responses = server.locks("Session")(iter(self.requests.get, None))
        self.opened = self.next().opened

    def send(self, **operation):
        self.last_id += 1
        self.requests.put(self.request(id=self.last_id, **operation))
        return self.last_id

    def next(self):
        return next(self.responses)

    def ask(self, **operation):
        """Asks, and waits for the answer to just that."""
        asked = self.send(**operation)
        response = self.next()
        assert response.id == asked, response
        return response

    def close(self):
        assert self.ask(close={}).WhichOneof("result") == "closed"
        assert next(self.responses, None) is None, "the stream ends after `close`"


def error_info(error):
    """The domain and the reason in what a status has in its details."""
    trailers = dict(error.trailing_metadata() or [])
    status = status_types().FromString(trailers.get("grpc-status-details-bin", b""))
    for detail in status.details:
        if detail.type_url == "type.googleapis.com/google.rpc.ErrorInfo":
            info = error_info_type().FromString(detail.value)
            return info.domain, info.reason
    return None, None


def status_types():
    return STANDARD.message("google.rpc.Status")


def error_info_type():
    return STANDARD.message("google.rpc.ErrorInfo")


class Standard:
    """The types of google.rpc that every gRPC library knows."""

    def __init__(self):
        field = descriptor_pb2.FieldDescriptorProto
        file = descriptor_pb2.FileDescriptorProto(name="standard.proto", package="google.rpc")
        file.syntax = "proto3"

        def message(name, *fields):
            added = file.message_type.add(name=name)
            for number, name, kind, label, type_name in fields:
                added.field.add(
                    number=number, name=name, type=kind, label=label, type_name=type_name
                )

        one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
        message(
            "Any",
            (1, "type_url", field.TYPE_STRING, one, None),
            (2, "value", field.TYPE_BYTES, one, None),
        )
        message(
            "Status",
            (1, "code", field.TYPE_INT32, one, None),
            (2, "message", field.TYPE_STRING, one, None),
            (3, "details", field.TYPE_MESSAGE, many, ".google.rpc.Any"),
        )
        message(
            "ErrorInfo",
            (1, "reason", field.TYPE_STRING, one, None),
            (2, "domain", field.TYPE_STRING, one, None),
        )
        self.pool = descriptor_pool.DescriptorPool()
        self.pool.Add(file)

    def message(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))


STANDARD = Standard()
