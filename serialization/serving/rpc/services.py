"""The services that gRPC calls are answered for: each is registered here, and nowhere else."""

from __future__ import annotations

from typing import Any

from serialization.console import make_printable
from serialization.formats.wire import DamagedError, iterate_fields, read_varint
from serialization.graph.signature import Signature
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.rpc.health_service import HealthService
from serialization.serving.rpc.inference_service import InferenceService
from serialization.serving.rpc.message_classes import RpcService
from serialization.serving.rpc.prediction_service import PredictionService
from serialization.serving.wire.protocol import Call, Document, ServedModel, WireProtocol

_SERVICES = (PredictionService, InferenceService)
# The fields of a message with the model and its version, and those of a ModelSpec, which the first of them may be.
_NAME, _NUMBER = 1, 2


class Services:
    """Finds the service of a method."""

    def __init__(self, served: ServedModel, signature: Signature, settings: Settings) -> None:
        """All services for one model."""
        models = [make(served, signature, settings) for make in _SERVICES]
        names = [name for service in models for name in service.services]
        self.health = HealthService(names)
        self._services: list[WireProtocol] = [*models, self.health]
        self._names = [*names, *self.health.services]

    def find(self, method: str) -> WireProtocol:
        """The service of a method such as `/inference.GRPCInferenceService/ModelInfer`, or one that refuses it."""
        for service in self._services:
            if method.startswith(service.prefix):
                return service
        found = f"no service for {make_printable(method)}; the services here are {', '.join(self._names)}"
        return Refusal("other", RequestError(501, found))


def find_named_model(method: str, message: bytes) -> tuple[str, str]:
    """The name of the model in a message, and the number of its version; empty if there is none, or it is damaged."""
    try:
        found = memoryview(message)
        if not method.startswith(PredictionService.prefix):
            return bytes(_find_field(found, _NAME)).decode(), bytes(_find_field(found, _NUMBER)).decode()
        spec = _find_field(found, _NAME)
        number = _find_field(spec, _NUMBER)  # an Int64Value: a tag of one byte, and the number
        version = str(read_varint(number, 1, len(number))[0]) if number else ""
        return bytes(_find_field(spec, _NAME)).decode(), version
    except (DamagedError, UnicodeDecodeError):
        return "", ""


def _find_field(message: memoryview, wanted: int) -> memoryview:
    """The last field of this number that has a length, as protobuf takes it; empty if there is none."""
    found = message[:0]
    for field in iterate_fields(message, 0, len(message)):
        if field.end > len(message):
            raise DamagedError("a field is cut off")
        if field.wire == 2 and field.number == wanted:
            found = message[field.begin : field.end]
    return found


class Refusal(RpcService):
    """Refuses a call. The prefix is that of its service, which the metrics name."""

    def __init__(self, prefix: str, error: RequestError) -> None:
        self.prefix = prefix
        self._error = error

    def find_call(self, environ: dict[str, Any], *, ready: bool) -> Call | Document:
        raise self._error
