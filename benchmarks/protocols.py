"""Measures the other wire protocols of the server beside /api/predict; a part of bench_serving.py."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np
from servers import ROW, Target, in_turns, serving
from serving_report import Figure, Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER = "Inference-Header-Content-Length"


def tfs_target(target: Target, model: str, rows: NDArray[Any]) -> Target:
    """TensorFlow Serving's REST API on the same server."""
    url = target.url.replace("/api/predict", f"/v1/models/{model}:predict")
    return replace(target, url=url, body=json.dumps({"instances": rows.tolist()}).encode())


def v2_target(target: Target, model: str, rows: NDArray[Any], *, binary: bool) -> Target:
    """KServe V2 on the same server; `binary` sends the numbers, and has the answer, as bytes."""
    url = target.url.replace("/api/predict", f"/v2/models/{model}/infer")
    name = json.load(urlopen(url.removesuffix("/infer")))["inputs"][0]["name"]
    given: dict[str, Any] = {"name": name, "shape": list(rows.shape), "datatype": "FP32"}
    if not binary:
        given["data"] = rows.ravel().tolist()
        return replace(target, url=url, body=json.dumps({"inputs": [given]}).encode())
    given["parameters"] = {"binary_data_size": rows.nbytes}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    headers = ((_HEADER, str(len(head))),)
    body = head + rows.tobytes()
    return replace(target, url=url, body=body, content_type="application/octet-stream", headers=headers)


def measure_protocols(
    report: Report, say: Callable[[str], None], seconds: int, rounds: int, frozen: Path, wide: Callable[[Path], Path]
) -> None:
    """One row a request at 16 connections beside /api/predict; 10,000 x 100 numbers as bytes beside JSON."""
    row = np.array([ROW], np.float32)
    with serving("--frozen-model", frozen, "--model-name", "toy") as ours:
        targets = {
            "api": ours,
            "/v1": tfs_target(ours, "toy", row),
            "V2 JSON": v2_target(ours, "toy", row, binary=False),
            "V2 binary": v2_target(ours, "toy", row, binary=True),
        }
        measured = in_turns(targets, 16, seconds, rounds)
    for name, least in {"/v1": 0.85, "V2 JSON": 0.85, "V2 binary": 0.6}.items():
        ratio = measured[name].rate / measured["api"].rate
        result = f"{ratio:.2f} ({measured[name].rate:,.0f} requests/s)"
        report.add(
            Figure(f"{name} beside /api/predict, 16 connections", f"at least {least}", result, ratio >= least), say
        )
    numbers = np.random.default_rng(0).normal(size=(10_000, 100)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--inputs", "x", "--outputs", "y", "--max-rows", 10_000, "--model-name", "wide"]
        first = json.dumps({"x": numbers[:1].tolist()}).encode()
        with serving("--frozen-model", wide(Path(folder)), *flags, body=first) as ours:
            both = {
                kind: v2_target(ours, "wide", numbers, binary=binary)
                for kind, binary in {"JSON": False, "binary": True}.items()
            }
            measured = in_turns(both, 1, seconds, rounds)
    ratio = measured["binary"].rate / measured["JSON"].rate
    result = f"{ratio:.1f} times ({measured['binary'].rate:,.1f} requests/s)"
    report.add(Figure("V2 binary beside V2 JSON, 10,000 x 100 numbers", "at least 20 times", result, ratio >= 20), say)
