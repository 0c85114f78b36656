"""What every script promises, found by glob: a script without its test, or outside the house's rules, fails here."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import io
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest
from conftest import PROJECT, SCRIPTS, Run, environment

import serialization
from serialization.checks.confinement import describe_confinement
from serialization.flags import FLAG_GROUPS, FLAGS


def docstring(script: str) -> str:
    return ast.get_docstring(ast.parse((PROJECT / f"{script}.py").read_text())) or ""


def help_of(script: str) -> str:
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
        importlib.import_module(script).main(["--help"])
    return printed.getvalue()


def flags_of(script: str) -> list[str]:
    """The flags that a script's own --help lists, in that order; a line of help that goes on is indented further."""
    found = re.findall(r"^  (?:-h, )?--([a-z-]+)", help_of(script), re.MULTILINE)
    assert found[:2] == ["help", "version"], f"{script}.py has to make its parser with serialization.parser.make_parser"
    return found[2:]


INPUTS = {"checkpoint", "frozen-model", "saved-model", "keras", "image", "labels"}
# These scripts write what the flag names, so that a missing file is no fault.
WRITES = {("checkpoint_save", "checkpoint"), ("freezemodel_save", "frozen-model")}
# What takes long to import; requirements-export.txt need not be installed for --help.
SLOW = {"tensorflow", "numpy", "rich", "flask", "granian", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert", "grpc"}
READS = sorted({(script, flag) for script in SCRIPTS for flag in INPUTS & set(flags_of(script))} - WRITES)


@pytest.mark.parametrize("script", SCRIPTS)
def test_docstring_is_the_manual(script: str) -> None:
    commands = re.findall(r"^    python (\S+\.py)(.*)$", docstring(script), re.MULTILINE)
    first = f"the docstring of {script}.py has to show `    python {script}.py`, without flags, as its first command"
    assert commands, first
    assert commands[0] == (f"{script}.py", ""), first
    others = {name for name, _ in commands} - {f"{script}.py"}
    assert not others, f"the docstring of {script}.py shows {', '.join(others)}; show commands of {script}.py only"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_quick_and_imports_no_tensorflow(script: str, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(PROJECT / f"{script}.py"), "--help"]
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        seconds.append(time.monotonic() - started)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert " ".join(docstring(script).split()) in shown, f"{script}.py has to call make_parser(__doc__, ...)"
    slow = set(re.findall(r"\| +(\w+)", done.stderr)) & SLOW
    late = "import it in the function that needs it, or np, tf and tf1 from serialization.tensorflow"
    assert not slow, f"{script}.py --help imports {', '.join(slow)}; {late}"
    # 0.15 on a machine with nothing else to do
    assert min(seconds) < 1.5, f"{script}.py --help takes {min(seconds):.1f} s; `python -X importtime` shows where"


@pytest.mark.parametrize("script", [*SCRIPTS, "pretrainedresnet/train"])
def test_version_is_told_without_importing_tensorflow(script: str, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(PROJECT / f"{script}.py"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    tensorflow = importlib.metadata.version("tensorflow")
    version = f"serialization {serialization.__version__}, TensorFlow {tensorflow}\n{describe_confinement()}\n"
    assert done.stdout == version, done.stderr
    imported = set(re.findall(r"\| +(\w+)", done.stderr)) & SLOW
    assert not imported, f"{script}.py --version imports {', '.join(imported)}; import it where it is used"


def test_the_version_is_in_the_changelog() -> None:
    """The newest heading is that of this version; before a release, Unreleased stands for it."""
    newest = re.findall(r"^## (\S+)(?: - \d{4}-\d\d-\d\d)?$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    version = serialization.__version__
    wanted = "Unreleased" if version.endswith(".dev0") else version
    where = "see CONTRIBUTING.md on releases"
    assert newest == wanted, f"CHANGELOG.md begins with {newest}, serialization/__init__.py has {version}; {where}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_are_the_vocabulary_and_are_tested(script: str) -> None:
    used = flags_of(script)
    unknown = set(used) - set(FLAGS)
    assert not unknown, f"add {', '.join(unknown)} to FLAG_GROUPS in serialization/flags.py, and let make_parser add it"
    tests = "".join(path.read_text() for path in (PROJECT / "tests").rglob("*.py"))
    for flag in used:
        add = f'add a test that runs {script}.py with "--{flag}" to tests/test_{script}.py'
        assert re.search(rf"\"--{flag}[=\"]", tests), f"no test uses --{flag}; {add}"
    commands = " ".join(re.findall(r"^    python .*$", docstring(script), re.MULTILINE))
    wrong = set(re.findall(r"--([a-z-]+)", commands)) - set(used)
    assert not wrong, f"the docstring of {script}.py shows --{', --'.join(wrong)}, which it does not have"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_grouped_in_the_same_order_everywhere(script: str) -> None:
    sections = [part.partition(":\n") for part in re.split(r"^(?=\w.*:$)", help_of(script), flags=re.MULTILINE)[1:]]
    shown = {title: re.findall(r"^  --([a-z-]+)", text, re.MULTILINE) for title, _, text in sections}
    used = flags_of(script)
    wanted = {title: [flag for flag in flags if flag in used] for title, flags in FLAG_GROUPS.items()}
    grouped = [(title, flags) for title, flags in shown.items() if title in FLAG_GROUPS]
    assert grouped == [(title, flags) for title, flags in wanted.items() if flags], "let make_parser add the flags"


def test_every_flag_of_the_vocabulary_is_used() -> None:
    used = {flag for script in SCRIPTS for flag in flags_of(script)}
    others = (PROJECT / "pretrainedresnet" / "train.py").read_text()
    unused = {flag for flag in set(FLAGS) - used if f'"{flag}"' not in others and f"{flag}=" not in others}
    away = "give it to make_parser in a script, or remove it from FLAG_GROUPS in serialization/flags.py"
    assert not unused, f"no script has --{', --'.join(unused)}; {away}"


def flags_table() -> str:
    """The tables of docs/flags.md: each flag by its group, what it takes and means, and the scripts that have it."""
    taken_by = {script: flags_of(script) for script in SCRIPTS}
    lines = []
    for title, group in FLAG_GROUPS.items():
        lines += [f"## {title.capitalize()}", "", "| flag | means | in |", "| --- | --- | --- |"]
        for flag, told in group.items():
            scripts = [f"`{script}`" for script, flags in taken_by.items() if flag in flags]
            value = told.get("metavar") or "|".join(told.get("choices", ()))
            shown = f"--{flag} {value}".strip().replace("|", "\\|")
            lines.append(f"| `{shown}` | {told['help']} | {', '.join(scripts) or '`pretrainedresnet/train`'} |")
        lines.append("")
    return "\n".join(lines)


def test_the_manual_has_every_flag_as_help_says_it() -> None:
    manual = (PROJECT / "docs" / "flags.md").read_text()
    missing = [line for line in flags_table().splitlines() if line and line not in manual]
    assert not missing, "docs/flags.md lacks these lines; put each below its neighbour:\n" + "\n".join(missing)
    assert flags_table() in manual, f"docs/flags.md has other lines or another order; wanted is:\n{flags_table()}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_unknown_flag_is_one_line_and_status_2(script: str, run: Run) -> None:
    done = run(script, "--bogus")
    assert (done.status, done.stdout) == (2, ""), f"{script}.py has to parse its flags before it does anything"
    assert re.fullmatch(r"error: unknown flag --bogus; `.* --help` lists the flags\n", done.stderr), done.stderr


@pytest.mark.parametrize(("script", "flag"), READS)
def test_missing_input_is_one_line_and_status_1(script: str, flag: str, run: Run, toy: Path) -> None:
    done = run(script, f"--{flag}", toy / "missing")
    if_written = f"if {script}.py writes what --{flag} names, add it to WRITES in tests/test_contract.py"
    assert done.status == 1, f"raise UserError where --{flag} names nothing; {if_written}"
    assert re.fullmatch(r"error: .*missing.*\n", done.stderr), f"one line has to name the path; found {done.stderr}"


def test_what_scripts_read_is_checked() -> None:
    assert len(READS) >= 8, "flags_of in tests/test_contract.py finds no flags that read"


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_in_the_readme_and_has_its_test(script: str) -> None:
    assert f"`{script}.py`" in (PROJECT / "README.md").read_text(), f"add a row for {script}.py to README.md's table"
    assert (PROJECT / "tests" / f"test_{script}.py").is_file(), f"add tests/test_{script}.py"


@pytest.mark.parametrize("script", SCRIPTS)
def test_skeleton(script: str) -> None:
    source = (PROJECT / f"{script}.py").read_text()
    begin, end = (
        "def main(argv: Sequence[str] | None = None) -> int:",
        'if __name__ == "__main__":\n    cli.run(main)\n',
    )
    assert f"\n{begin}\n" in source, f"{script}.py has to have `{begin}`"
    if script in ("tour", "freezemodel_serve"):  # their first process loads no model
        source = source.replace("cli.run(main, loads_model=False)", "cli.run(main)")
    assert source.endswith(f"\n\n{end}"), f"{script}.py has to end with:\n{end}"


def test_arrows_run_one_way() -> None:
    """The modules of serialization/ import no script."""
    for path in (PROJECT / "serialization").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            upwards = {name.partition(".")[0] for name in names} & {*SCRIPTS, "model"}
            assert not upwards, f"{path} imports {', '.join(upwards)}; give it as an argument from the script"


# Modules in which there is too little for a test of their own, each with the test that covers it.
COVERED_BY = {
    "errors": "test_cli",
    "project": "test_cli",
    "serving/http/direct": "serving/http/test_server",
    "serving/http/worker": "serving/http/test_server",
    "serving/limits": "test_freezemodel_serve",
}


def test_every_module_has_its_test() -> None:
    package, tests = PROJECT / "serialization", PROJECT / "tests"
    modules = {path.relative_to(package).with_suffix("") for path in package.rglob("*.py") if path.stem != "__init__"}
    alone = {str(m) for m in modules if not (tests / m.parent / f"test_{m.name}.py").is_file()}
    assert not alone - COVERED_BY.keys(), "add tests/<package>/test_<module>.py, or a line to COVERED_BY"
    assert not COVERED_BY.keys() - alone, "take it out of COVERED_BY: it has a test of its own, or is gone"
    assert all((tests / f"{test}.py").is_file() for test in COVERED_BY.values()), "a test in COVERED_BY is missing"
    assert len(COVERED_BY) <= 5, "COVERED_BY is for exceptions; write a test of the module's own"
