"""Asks a server for its health by grpcio-health-checking, in the environment of that library.

python grpchealth_calls.py HOST:PORT        prints the number of checks
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NAMES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "inference.GRPCInferenceService",
)


def check(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in NAMES:
            assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=60).status == SERVING
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60)
            assert next(watch).status == SERVING
            watch.cancel()
        unknown = stub.Watch(health_pb2.HealthCheckRequest(service="none"), timeout=60)
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        unknown.cancel()
        refused = None
        try:
            stub.Check(health_pb2.HealthCheckRequest(service="none"), timeout=60)
        except grpc.RpcError as error:
            refused = error
        assert refused is not None
        assert (refused.code(), refused.details()) == (grpc.StatusCode.NOT_FOUND, "no service none is here")
    return 2 * len(NAMES) + 2


if __name__ == "__main__":
    print(check(sys.argv[1]))
