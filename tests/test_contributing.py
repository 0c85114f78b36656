"""CONTRIBUTING.md: the files that it names are there, and a flag that is added as it says works and passes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import PROJECT, environment

TEXT = (PROJECT / "CONTRIBUTING.md").read_text()


def named_files(text: str) -> set[str]:
    """The paths in backticks. One with a word in capitals, such as from_NAME.py, stands for a file to be made."""
    paths = re.findall(r"`([\w/.]+\.(?:py|md|lock|txt))`", text)
    return {path for path in paths if not re.search(r"(?<![A-Z.])[A-Z]{2,}_|_[A-Z]{2,}", path)}


def test_the_files_that_it_names_are_there() -> None:
    found = named_files(TEXT)
    assert len(found) > 20
    for path in found:
        assert (PROJECT / path).is_file(), f"CONTRIBUTING.md names {path}, which is not there"


def insert(file: Path, before: str, text: str) -> None:
    """Put text before a line, which is there once."""
    old = file.read_text()
    assert old.count(before) == 1, f"{file.name} has {before!r} {old.count(before)} times"
    file.write_text(old.replace(before, f"{text}{before}"))


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_flag_that_is_added_as_it_says(clean_copy: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=clean_copy, check=True)  # a test asks git what has changed
    (clean_copy / "tests" / "test_contributing.py").unlink()  # it names the flag, and so would count as its test
    steps = TEXT.partition("## Add a flag")[2].partition("Some flags need more")[0]
    contract = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_contract.py")
    # The new flag and the tests of all flags, but no script that starts TensorFlow.
    chosen = (*contract, "-k", "model_inspect or flag or manual or vocabulary")

    flag = '        "title": {"type": parse_word, "metavar": "TEXT", "help": "print this line above the report"},\n'
    insert(clean_copy / "serialization" / "flags.py", '        "tensor": {', flag)
    refused = run(clean_copy, *chosen).stdout
    assert "no script has --title; give it to make_parser in a script" in refused

    script = clean_copy / "model_inspect.py"
    insert(script, '"overwrite", "tag-set")', '"title", ')
    insert(script, "    if args.json:\n        print(json.dumps", "    if args.title:\n        print(args.title)\n")
    shown = run(clean_copy, "model_inspect.py", "pretrainedresnet/1", "--title", "My model").stdout
    assert shown.startswith("My model\npretrainedresnet/1: a SavedModel")
    refused = run(clean_copy, *chosen).stdout
    row = "| `--title TEXT` | print this line above the report | `model_inspect` |\n"
    assert 'add a test that runs model_inspect.py with "--title" to tests/test_model_inspect.py' in refused
    assert f"docs/flags.md lacks these lines; put each below its neighbour:\nE         {row}" in refused

    tests = clean_copy / "tests" / "test_model_inspect.py"
    test = (
        "\n\ndef test_title(run: Run, made: Path) -> None:\n"
        '    done = run("model_inspect", made / "frozen_model.pb", "--title", "My model")\n'
        '    assert done.stdout.startswith("My model\\n")\n'
    )
    tests.write_text(tests.read_text() + test)
    insert(clean_copy / "docs" / "flags.md", "| `--tensor NAME` |", row)
    insert(clean_copy / "CHANGELOG.md", "- LICENSE, CONTRIBUTING.md", "- `model_inspect.py --title`.\n")
    done = run(clean_copy, *chosen, "tests/test_model_inspect.py::test_title")
    assert done.returncode == 0, done.stdout
    edited = {
        "serialization/flags.py",
        "model_inspect.py",
        "tests/test_model_inspect.py",
        "docs/flags.md",
        "CHANGELOG.md",
    }
    assert named_files(steps) == edited
