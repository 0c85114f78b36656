"""docs/design.md names every module, and what it names is there."""

from __future__ import annotations

import re

from conftest import PROJECT

TEXT = (PROJECT / "docs" / "design.md").read_text()
PACKAGE = PROJECT / "serialization"


def test_design_names_every_module() -> None:
    named = set(re.findall(r"`(\w+)`", TEXT))
    modules = {path.stem for path in PACKAGE.rglob("*.py") if path.stem != "__init__"}
    assert not modules - named, "add it to the table of modules in docs/design.md"


def test_files_that_design_names_are_there() -> None:
    paths = set(re.findall(r"`((?:\w+/)+\w+\.py)`", TEXT))
    assert len(paths) > 15
    missing = {path for path in paths if not (PACKAGE / path.removeprefix("serialization/")).is_file()}
    assert not missing, "docs/design.md names files that are not there"


def test_functions_that_design_names_are_there() -> None:
    source = "".join(path.read_text() for path in (*PACKAGE.rglob("*.py"), *PROJECT.glob("*.py")))
    names = {
        name for name in re.findall(r"`([a-z]+(?:_[a-z]+)+|[A-Z]\w+)`", TEXT) if not re.fullmatch(r"[A-Z_]+", name)
    }
    assert len(names) > 25
    gone = names - set(re.findall(r"\b(?:def|class) (\w+)", source))
    assert not gone - {path.stem for path in PACKAGE.rglob("*.py")}, "docs/design.md names functions that are gone"


def test_serving_is_compared_with_other_servers() -> None:
    """Each cell says something, if only that it is not known."""
    text = (
        (PROJECT / "docs" / "serving.md").read_text().partition("\n## Beside other servers\n")[2].partition("\n## ")[0]
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    names = {"this one", "TensorFlow Serving", "Triton", "OpenVINO Model Server", "MLServer", "BentoML", "LitServe"}
    assert {row[0] for row in rows[2:]} == names | {"Ray Serve"}
    assert all(len(row) == len(rows[0]) and all(row) for row in rows)
