"""The same frozen model in BentoML, written as in its documentation, with its fastest settings.

These are an asynchronous, batchable API, no metrics, and no access log. Its default, a synchronous API, reaches less
than half of the requests/s.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
import tensorflow.compat.v1 as tf1


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Toy:
    """The toy model; an array that is returned is the whole answer."""

    def __init__(self) -> None:
        with tf1.Graph().as_default() as graph:
            tf1.import_graph_def(tf1.GraphDef.FromString(Path(os.environ["FROZEN_MODEL"]).read_bytes()), name="prefix")
        self.session = tf1.Session(graph=graph)

    @bentoml.api(route="/api/predict", batchable=True, max_batch_size=64)  # type: ignore[untyped-decorator, unused-ignore]
    async def predict(self, x: np.ndarray) -> np.ndarray:  # BentoML reads these types
        y: np.ndarray = self.session.run(
            "prefix/Accuracy/predictions:0", {"prefix/Placeholder/inputs_placeholder:0": x}
        )
        return y


if __name__ == "__main__":
    frozen_model, port = sys.argv[1:]
    os.environ |= {"FROZEN_MODEL": frozen_model, "BENTOML_DO_NOT_TRACK": "True"}
    words = ["-m", "bentoml", "serve", "bentoml_server:Toy", "--host", "127.0.0.1", "--port", port]
    os.execv(sys.executable, [sys.executable, *words])
