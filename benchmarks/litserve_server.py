"""The same frozen model in LitServe, written as in its documentation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import litserve
import tensorflow.compat.v1 as tf1


class Api(litserve.LitAPI):
    """The toy model."""

    def setup(self, device: str) -> None:
        with tf1.Graph().as_default() as graph:
            tf1.import_graph_def(tf1.GraphDef.FromString(Path(sys.argv[1]).read_bytes()), name="prefix")
        self.session = tf1.Session(graph=graph)

    def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def]  # LitServe takes a type for a schema
        return request["x"]

    def predict(self, x: Any) -> Any:
        return self.session.run("prefix/Accuracy/predictions:0", {"prefix/Placeholder/inputs_placeholder:0": x})

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"y": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/api/predict"), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
