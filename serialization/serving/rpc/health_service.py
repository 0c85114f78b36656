"""The standard health service of gRPC, for probes: grpc.health.v1.Health.

Source: health.proto of grpc/grpc, and its document on health checking. The server as a whole, whose name is empty, and
each of its services serve until the server is about to end.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from serialization.console import make_printable
from serialization.serving.requests import RequestError
from serialization.serving.rpc.message_classes import RpcService, make_messages, parse
from serialization.serving.wire.protocol import MESSAGE, Call, Document

WATCH = "/grpc.health.v1.Health/Watch"
_CHECK = "/grpc.health.v1.Health/Check"
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3  # of the enum ServingStatus, which is an int32 here
messages = make_messages(
    "grpc.health.v1", {"HealthCheckRequest": "service=1 string", "HealthCheckResponse": "status=1 int32"}
)


class HealthService(RpcService):
    """Answers Check, and says what Watch answers."""

    prefix = "/grpc.health.v1.Health/"
    services = ("grpc.health.v1.Health",)

    def __init__(self, others: Collection[str]) -> None:
        self._known = {"", *self.services, *others}

    def find_call(self, environ: dict[str, Any], *, ready: bool) -> Call | Document:
        path = environ["PATH_INFO"]
        if path != _CHECK:
            raise RequestError(501, f"{make_printable(path)} is not answered here; these are: Check and Watch")
        service = parse(messages.HealthCheckRequest, environ[MESSAGE]).service
        if service not in self._known:
            raise RequestError(404, f"no service {make_printable(service)} is here")
        return Document(path, self.tell(environ[MESSAGE], ready=ready))

    def tell(self, body: bytes, *, ready: bool) -> bytes:
        """The answer of Watch: a service that is not known may come. Raises RequestError."""
        known = parse(messages.HealthCheckRequest, body).service in self._known
        status = _SERVICE_UNKNOWN if not known else _SERVING if ready else _NOT_SERVING
        return bytes(messages.HealthCheckResponse(status=status).SerializeToString())
