"""Serves a model by deploy/ray_serve.py on two raylets of this machine, in the environment of Ray, until Ctrl-C.

python ray_server.py MODEL.onnx PORT
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from servers import PROJECT, free_port

# Ray sends a request again if it could not connect. A prediction may be sent again after other failures too.
RETRIES = {"RETRY_ON": "conn-failure empty-response response-timeout", "RETRIES": "3"}
_SMALL = {"num_cpus": 1, "object_store_memory": 100_000_000}


def set_up(folder: str) -> None:
    """Choose HAProxy mode, with its files in a folder of its own and on free ports, before Ray is imported."""
    own = {"CONFIG_FILE_LOC": f"{folder}/haproxy.cfg", "SERVER_STATE_BASE": folder, "NBTHREAD": "1", **RETRIES}
    own |= {name: f"{folder}/{name}" for name in ("SOCKET_PATH", "METRICS_SOCKET_PATH", "SERVER_STATE_FILE")}
    own |= {name: str(free_port()) for name in ("STATS_PORT", "METRICS_PORT")}
    os.environ.update({f"RAY_SERVE_HAPROXY_{name}": value for name, value in own.items()})
    os.environ.update(RAY_SERVE_ENABLE_HA_PROXY="1", RAY_SERVE_THROUGHPUT_OPTIMIZED="1", RAY_USAGE_STATS_ENABLED="0")
    os.environ["PYTHONPATH"] = str(PROJECT)  # of the replicas


@contextmanager
def serving_by_ray(model: str, port: int) -> Iterator[tuple[Callable[[], int], Callable[[], None]]]:
    """Run two replicas, one in each of two raylets.

    Yields two functions: the first counts the replicas that run, the second kills the second raylet.
    """
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        set_up(folder)
        import ray
        from ray import serve
        from ray.cluster_utils import Cluster

        build = import_module("deploy.ray_serve").build
        cluster = Cluster(initialize_head=True, head_node_args={**_SMALL, "include_dashboard": False})
        try:
            second = cluster.add_node(**_SMALL)
            ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
            serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
            serve.run(build({"model": model}))

            def count() -> int:
                states: dict[Any, int] = (
                    serve.status().applications["default"].deployments["predictions"].replica_states
                )
                return sum(number for state, number in states.items() if state == "RUNNING")

            yield count, lambda: cluster.remove_node(second, allow_graceful=False)
        finally:
            ray.shutdown()
            cluster.shutdown()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt), serving_by_ray(sys.argv[1], int(sys.argv[2])):
        threading.Event().wait()
