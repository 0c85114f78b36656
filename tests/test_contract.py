"""What every script promises, found by glob: a script without its test, or outside the house's rules, fails here."""

from __future__ import annotations

import ast
import importlib
import io
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest
from conftest import PROJECT, SCRIPTS, Run, environment

from serialization.flags import FLAGS


def docstring(script: str) -> str:
    return ast.get_docstring(ast.parse((PROJECT / f"{script}.py").read_text())) or ""


def help_of(script: str) -> str:
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
        importlib.import_module(script).main(["--help"])
    return printed.getvalue()


def flags_of(script: str) -> set[str]:
    return set(re.findall(r"^  (?:-h, )?--([a-z-]+)", help_of(script), re.MULTILINE)) - {"help"}


INPUTS = {"checkpoint", "frozen-model", "saved-model", "image", "labels"}
# These scripts write what the flag names, so that a missing file is no fault.
WRITES = {("checkpoint_save", "checkpoint"), ("freezemodel_save", "frozen-model")}
READS = sorted({(script, flag) for script in SCRIPTS for flag in flags_of(script) & INPUTS} - WRITES)


@pytest.mark.parametrize("script", SCRIPTS)
def test_docstring_is_the_manual(script: str) -> None:
    commands = re.findall(r"^    python (\S+\.py)(.*)$", docstring(script), re.MULTILINE)
    assert commands[0] == (f"{script}.py", ""), "the first command is the one without flags"
    assert {name for name, _ in commands} == {f"{script}.py"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_quick_and_imports_no_tensorflow(script: str, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(PROJECT / f"{script}.py"), "--help"]
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        seconds.append(time.monotonic() - started)
    assert done.returncode == 0
    assert " ".join(docstring(script).split()) in " ".join(done.stdout.split())
    imported = set(re.findall(r"\| +(\w+)", done.stderr))
    assert not imported & {"tensorflow", "numpy", "rich", "flask", "granian"}
    assert min(seconds) < 1.5  # 0.15 on a machine with nothing else to do


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_are_the_vocabulary_and_are_tested(script: str) -> None:
    used = flags_of(script)
    assert used <= set(FLAGS)
    tests = "".join(path.read_text() for path in (PROJECT / "tests").rglob("*.py"))
    assert {flag for flag in used if not re.search(rf"\"--{flag}[=\"]", tests)} == set()
    commands = " ".join(re.findall(r"^    python .*$", docstring(script), re.MULTILINE))
    written = set(re.findall(r"--([a-z-]+)", commands))
    assert written <= used, "the docstring shows flags that the script does not have"


def test_every_flag_of_the_vocabulary_is_used() -> None:
    used = {flag for script in SCRIPTS for flag in flags_of(script)}
    others = (PROJECT / "pretrainedresnet" / "train.py").read_text()
    assert {flag for flag in set(FLAGS) - used if f'"{flag}"' not in others and f"{flag}=" not in others} == set()


def flags_table() -> str:
    """The table of docs/flags.md: each flag, what it takes and means, and the scripts that have it."""
    taken_by = {script: flags_of(script) for script in SCRIPTS}
    lines = ["| flag | means | in |", "| --- | --- | --- |"]
    for flag, told in FLAGS.items():
        scripts = [f"`{script}`" for script, flags in taken_by.items() if flag in flags]
        value = told.get("metavar") or "|".join(told.get("choices", ()))
        shown = f"--{flag} {value}".strip().replace("|", "\\|")
        lines.append(f"| `{shown}` | {told['help']} | {', '.join(scripts) or '`pretrainedresnet/train`'} |")
    return "\n".join(lines)


def test_the_manual_has_every_flag_as_help_says_it() -> None:
    assert flags_table() in (PROJECT / "docs" / "flags.md").read_text(), flags_table()


@pytest.mark.parametrize("script", SCRIPTS)
def test_unknown_flag_is_one_line_and_status_2(script: str, run: Run) -> None:
    done = run(script, "--bogus")
    assert done.status == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: unrecognized arguments: --bogus; `.* --help` lists the flags\n", done.stderr)


@pytest.mark.parametrize(("script", "flag"), READS)
def test_missing_input_is_one_line_and_status_1(script: str, flag: str, run: Run, toy: Path) -> None:
    done = run(script, f"--{flag}", toy / "missing")
    assert done.status == 1
    assert re.fullmatch(r"error: .*missing.*\n", done.stderr)
    assert "Traceback" not in done.stderr


def test_what_scripts_read_is_checked() -> None:
    assert len(READS) >= 8


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_in_the_readme_and_has_its_test(script: str) -> None:
    assert f"`{script}.py`" in (PROJECT / "README.md").read_text()
    assert (PROJECT / "tests" / f"test_{script}.py").is_file()


@pytest.mark.parametrize("script", SCRIPTS)
def test_skeleton(script: str) -> None:
    source = (PROJECT / f"{script}.py").read_text()
    assert "\ndef main(argv: Sequence[str] | None = None) -> int:\n" in source
    assert source.endswith('\n\nif __name__ == "__main__":\n    cli.run(main)\n')


def test_arrows_run_one_way() -> None:
    """The modules of serialization/ import no script."""
    for path in (PROJECT / "serialization").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {*SCRIPTS, "model"}, path
