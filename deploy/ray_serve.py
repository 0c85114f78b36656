"""The server's application in Ray Serve, for a cluster that runs Ray already. Elsewhere a proxy and servers cost less.

    pip install -r requirements-ray.txt
    export RAY_SERVE_ENABLE_HA_PROXY=1 RAY_SERVE_THROUGHPUT_OPTIMIZED=1 RAY_SERVE_HAPROXY_RETRIES=3
    export RAY_SERVE_HAPROXY_RETRY_ON="conn-failure empty-response response-timeout"
    serve run deploy.ray_serve:build house=/models/house.onnx

Set these variables for `ray start` too. NAME=PATH is as in `freezemodel_serve.py --model`, and may be repeated; models
of TensorFlow need requirements.txt as well. Routes, rules and messages are those of freezemodel_serve.py. Ray runs two
to ten replicas, by the requests under way. It confines no model, and in this mode it listens on all addresses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import serve

IN_FLIGHT = 128  # requests that one replica takes at once, as --max-in-flight


def build(models: dict[str, str]) -> Any:
    """The application of Ray for models, by their names in URLs: `{"house": "/models/house.onnx"}`."""

    def make_asgi() -> Any:
        """Load the models, in a replica."""
        from a2wsgi import WSGIMiddleware

        from freezemodel_serve import create_app

        return WSGIMiddleware(create_app(models={name: Path(models[name]) for name in models}), workers=IN_FLIGHT)

    deployment = serve.deployment(
        serve.ingress(make_asgi)(),
        name="predictions",
        max_ongoing_requests=IN_FLIGHT,
        autoscaling_config={"min_replicas": 2, "max_replicas": 10, "target_ongoing_requests": IN_FLIGHT // 4},
        max_replicas_per_node=1,  # a lost node takes one replica with it
        health_check_period_s=1,
        health_check_timeout_s=5,
    )
    return deployment.bind()
