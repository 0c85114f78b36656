"""Loads deploy/ray_serve.py on two raylets, kills one of them, and counts, in the environment of Ray.

    python ray_cluster.py MODEL.onnx REQUESTS

It prints a JSON object on a line: `answered` and `failed` requests, the replicas `before` and `after`, and the
`answers` to a good and a bad request.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PROJECT = Path(__file__).parents[2]
sys.path[:0] = [str(PROJECT / name) for name in ("benchmarks", "tests")]

from numbered_load import Load  # noqa: E402
from ray_server import serving_by_ray  # noqa: E402
from servers import free_port  # noqa: E402

BODIES = (b'{"x":[1]}', b'{"x":["a"]}')


def post(port: int, body: bytes) -> tuple[int, Any]:
    request = Request(f"http://127.0.0.1:{port}/api/predict", body, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def main(model: str, requests: int) -> None:
    port = free_port()
    with serving_by_ray(model, port) as (count, kill):
        before, answers = count(), [post(port, body) for body in BODIES]
        with Load(("127.0.0.1", port), goes_on=True) as load:
            load.wait_for(requests // 4)
            kill()
            load.wait_for(requests - load.answered)
        found = {"answered": load.answered, "failed": load.failed, "before": before, "after": count()}
        print("\n" + json.dumps(found | {"answers": answers}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
