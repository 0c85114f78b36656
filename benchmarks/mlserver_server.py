"""The same frozen model in MLServer, as a custom runtime written as in its documentation, with its fastest settings.

These are no debugging (which logs every request), no metrics, and no compression. One process runs the model, which is
the default; without it (`parallel_workers` 0) MLServer is as fast at 16 connections, faster at 1, and slower at 64. The
rows come in the Open Inference Protocol.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import tensorflow.compat.v1 as tf1
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from servers import free_port


class Toy(MLModel):
    """The toy model."""

    async def load(self) -> bool:
        with tf1.Graph().as_default() as graph:
            tf1.import_graph_def(tf1.GraphDef.FromString(Path(os.environ["FROZEN_MODEL"]).read_bytes()), name="prefix")
        self.session = tf1.Session(graph=graph)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        y = self.session.run("prefix/Accuracy/predictions:0", {"prefix/Placeholder/inputs_placeholder:0": x})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", y)])


if __name__ == "__main__":
    from mlserver.cli import main

    os.environ["FROZEN_MODEL"], port = sys.argv[1:]
    settings = {"debug": False, "host": "127.0.0.1", "http_port": int(port), "grpc_port": free_port()}
    settings |= {"metrics_endpoint": None, "parallel_workers": 1, "gzip_enabled": False}
    with tempfile.TemporaryDirectory() as folder:
        settings |= {"metrics_dir": folder, "environments_dir": folder}
        (Path(folder) / "settings.json").write_text(json.dumps(settings))
        runtime = {"name": "toy", "implementation": "mlserver_server.Toy"}
        (Path(folder) / "model-settings.json").write_text(json.dumps(runtime))
        sys.argv[1:] = ["start", folder]
        main()
