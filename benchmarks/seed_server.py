"""The same frozen model in the usual design: Flask's own app.run, and session.run for each request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from flask import Flask, jsonify, request

from serialization.tensorflow import tf1

INPUTS, OUTPUTS = "prefix/Placeholder/inputs_placeholder:0", "prefix/Accuracy/predictions:0"


def main(frozen_model: str, port: int) -> None:
    graph_def = tf1.GraphDef.FromString(Path(frozen_model).read_bytes())
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name="prefix")
    session = tf1.Session(graph=graph)
    app = Flask(__name__)

    @app.post("/api/predict")
    def predict() -> Any:
        y = session.run(OUTPUTS, {INPUTS: request.get_json()["x"]})
        return jsonify({"y": y.tolist()})

    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a log line for each request would slow it down
    app.run(port=port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
