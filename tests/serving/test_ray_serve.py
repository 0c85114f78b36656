"""deploy/ray_serve.py on two raylets of this machine, one of which is killed under load."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from conftest import PROJECT, make_environment
from replicas import write_same

CONNECTIONS = 64  # of numbered_load.Load
REQUESTS = 2000


def test_a_raylet_is_killed_under_load(tmp_path: Path) -> None:
    """Each client loses one request at most: Ray sends an answer's head before its body, which is cut then."""
    python = str(make_environment("ray") / "bin" / "python")
    script = str(PROJECT / "tests" / "deployments" / "ray_cluster.py")
    model = str(write_same(tmp_path / "same.onnx"))
    done = subprocess.run([python, "-B", script, model, str(REQUESTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (found["before"], found["after"]) == (2, 1)
    good, (status, refused) = found["answers"]
    assert good == [200, {"y": [1.0]}]
    assert (status, refused["error"]) == (400, "x[0]: expected a number, got a string")
    assert found["answered"] >= REQUESTS
    assert len(found["failed"]) <= CONNECTIONS, found["failed"][:3]
