"""`make run`, as a newcomer runs it: all steps as processes, from a folder outside the project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import SCRIPTS, environment


def test_tour_runs_every_script_and_each_proves_itself(clean_copy: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, clean_copy / "tour.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.returncode == 0
    for script in SCRIPTS:
        assert script == "tour" or f"{script}.py" in done.stdout, script
    assert done.stdout.splitlines()[-1].startswith("every step proved itself, in ")
    assert list(tmp_path.iterdir()) == []
