"""The services that gRPC calls are answered for: each is registered here, and nowhere else."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from serialization.console import make_printable
from serialization.graph.signature import Signature
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.rpc import inference_service, prediction_service
from serialization.serving.rpc.health_service import HealthService
from serialization.serving.rpc.inference_service import InferenceService
from serialization.serving.rpc.message_classes import RpcService
from serialization.serving.rpc.prediction_service import PredictionService
from serialization.serving.wire.protocol import Call, Document, ServedModel, WireProtocol

_SERVICES = (PredictionService, InferenceService)


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
        if not method.startswith(PredictionService.prefix):
            # All requests of a service have these fields at the same numbers; those that a class lacks are passed over.
            named = inference_service.messages.ModelRequest.FromString(message)
            return named.name, named.version
        spec = prediction_service.messages.GetModelStatusRequest.FromString(message).model_spec
        return spec.name, str(spec.version.value) if spec.HasField("version") else ""
    except DecodeError:
        return "", ""


class Refusal(RpcService):
    """Refuses a call. The prefix is that of its service, which the metrics name."""

    def __init__(self, prefix: str, error: RequestError) -> None:
        self.prefix = prefix
        self._error = error

    def find_call(self, environ: dict[str, Any], *, ready: bool) -> Call | Document:
        raise self._error
