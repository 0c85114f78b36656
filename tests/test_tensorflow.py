"""TensorFlow is imported late and quietly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import PROJECT, environment


def test_a_bug_shows_the_log_of_tensorflow(tmp_path: Path) -> None:
    """TensorFlow's log is held back, and shown when a script fails."""
    code = (
        "from serialization import cli, flags\n"
        "from serialization.tensorflow import tf1\n"
        "def main(argv):\n"
        "    tf1.Graph()\n"
        "    import logging; logging.getLogger('tensorflow').warning('a hint')\n"
        "    raise ZeroDivisionError\n"
        "cli.run(main)\n"
    )
    environment_here = {**environment(), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment_here, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.index("ZeroDivisionError") < done.stderr.index("WARNING: a hint")
