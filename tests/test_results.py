"""results/ is there in a fresh clone, says what will lie in it, and outlives `make clean`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from conftest import PROJECT


def test_its_readme_names_what_the_scripts_write() -> None:
    table = re.findall(r"^\| `(\w+\.py)` .* \| `results/([\w.]+)/?` \|$", (PROJECT / "README.md").read_text(), re.M)
    assert len(table) >= 5
    rows = (PROJECT / "results" / "README.md").read_text().splitlines()
    for script, written in table:
        row = f"a row of results/README.md has to say that {script} writes {written}"
        assert any(f"`{script}`" in line and written in line for line in rows), row


def test_make_clean_leaves_the_readme(clean_copy: Path) -> None:
    results = clean_copy / "results"
    assert [path.name for path in results.iterdir()] == ["README.md"]
    (results / "savedmodel_from_source" / "variables").mkdir(parents=True)
    for name in ("savedmodel_from_source/README.md", "frozen_model.pb", ".graph.ckpt.partial-1"):
        (results / name).touch()
    subprocess.run(["make", "clean"], cwd=clean_copy, check=True, stdout=subprocess.DEVNULL)
    assert [path.name for path in results.iterdir()] == ["README.md"]
