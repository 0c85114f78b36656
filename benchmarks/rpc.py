"""Measures the server's gRPC beside its /api/predict, with h2load; a part of bench_serving.py."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from urllib.request import urlopen

import numpy as np
from servers import ROW, free_port, serving, wrk
from serving_report import Figure, Report

CONNECTIONS = 16
PREDICT = "/tensorflow.serving.PredictionService/Predict"
INFER = "/inference.GRPCInferenceService/ModelInfer"


def make_messages(key: str) -> dict[str, bytes]:
    """A request of one row for each method."""
    from serialization.formats import protos
    from serialization.serving.rpc import inference_service, prediction_service

    row = np.array([ROW], np.float32)
    tensor = protos.TensorProto(dtype=1, tensor_content=row.tobytes())
    for size in row.shape:
        tensor.tensor_shape.dim.add(size=size)
    predict = prediction_service.messages.PredictRequest(inputs={key: tensor.SerializeToString()})
    predict.model_spec.name = "toy"
    infer = inference_service.messages.ModelInferRequest(model_name="toy")
    infer.inputs.add(name=key, datatype="FP32", shape=row.shape).contents.fp32_contents.extend(row.ravel().tolist())
    return {PREDICT: predict.SerializeToString(), INFER: infer.SerializeToString()}


def h2load(address: str, method: str, message: bytes, seconds: int) -> float:
    """Requests/s of a call again and again. Raises SystemExit if one is not answered with a message."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(method)(message, timeout=60)  # raises if it is refused
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0" + len(message).to_bytes(4, "big") + message)  # not packed, and its length
        file.flush()
        words = ["h2load", f"--clients={CONNECTIONS}", "--max-concurrent-streams=1", f"--duration={seconds}"]
        words += ["--header=content-type: application/grpc", "--header=te: trailers", f"--data={file.name}"]
        output = subprocess.run(
            [*words, f"http://{address}{method}"], check=True, capture_output=True, text=True
        ).stdout
    found = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", output)
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", output)
    data = re.search(r"\((\d+)\) data", output)
    if found is None or counts is None or data is None or int(counts[2]) + int(counts[3]):
        raise SystemExit(f"{address} refuses: {output}")
    if int(data[1]) < int(counts[1]) * (5 + len(answer)):
        raise SystemExit(f"{address} answers some calls without a message: {output}")
    return float(found[1])


def measure_grpc(report: Report, say: Callable[[str], None], seconds: int, rounds: int, frozen: Path) -> None:
    """One row a request at 16 connections, in turns with /api/predict."""
    port = free_port()
    with serving("--frozen-model", frozen, "--model-name", "toy", "--grpc-port", port) as ours:
        metadata = json.load(urlopen(ours.url.replace("/api/predict", "/v2/models/toy")))
        messages = make_messages(metadata["inputs"][0]["name"])
        rates: dict[str, list[float]] = {"api": [], **{method: [] for method in messages}}
        for _ in range(rounds):
            rates["api"].append(wrk(ours, CONNECTIONS, seconds).rate)
            for method, message in messages.items():
                rates[method].append(h2load(f"127.0.0.1:{port}", method, message, seconds))
    for method in messages:
        ratio = median(rates[method]) / median(rates["api"])
        result = f"{ratio:.3f} ({median(rates[method]):,.0f} requests/s)"
        name = method.rpartition("/")[2]
        title = f"gRPC's {name} beside /api/predict, {CONNECTIONS} connections"
        report.add(Figure(title, "nothing: what grpcio takes", result, True), say)
