"""The project's paths: its folder, the folder of its results, and the SavedModel that it ships."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
PRETRAINED = ROOT / "pretrainedresnet"


def real_path(path: Path) -> Path:
    """The path with all links followed. Path.resolve raises for links in a circle before Python 3.13."""
    return Path(os.path.realpath(path))
