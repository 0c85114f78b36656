"""Every shell block of the README runs, in order, in a clean folder, and its output is the shown one; and again."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROJECT, Run, environment
from servers import free_port

from serialization import console, project

README = (PROJECT / "README.md").read_text()
SERVING = (PROJECT / "docs" / "serving.md").read_text()


@dataclass(frozen=True)
class Shown:
    """A command of a console block and the output shown below it, in which `...` stands for anything."""

    command: str
    output: str


def commands(text: str = README) -> Iterator[Shown]:
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Shown(command, output)


def matches(shown: str, printed: str) -> bool:
    """Whether the shown text is the printed one, but for `...`, the width of columns and space at the ends of lines."""

    def words(text: str) -> str:
        return re.sub(r"[ \t]+", " ", re.sub(r"[ \t]+$", "", text.strip(), flags=re.MULTILINE))

    return re.fullmatch(re.escape(words(shown)).replace(r"\.\.\.", ".*"), words(printed), re.DOTALL) is not None


@contextmanager
def serving(shown: Shown, folder: Path) -> Iterator[str]:
    """The server that the README leaves running in one terminal while it asks from another; yields its port."""
    port = str(free_port())
    words = [*shlex.split(shown.command), "--port", port]
    with subprocess.Popen(words, cwd=folder, env=environment(), text=True, stdout=-1, stderr=-1) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == shown.output.splitlines()[0].replace("5000", port)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")


def run_as_shown(folder: Path, shown_commands: Sequence[Shown]) -> None:
    """Run the commands one after the other, and compare each with its output."""
    with ExitStack() as terminal:
        port = "5000"
        for shown in shown_commands:
            if "freezemodel_serve.py" in shown.command:
                terminal.close()
                port = terminal.enter_context(serving(shown, folder))
                continue
            words = ["bash", "-c", shown.command.replace("localhost:5000", f"localhost:{port}")]
            done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True)
            assert matches(shown.output, done.stdout), f"$ {shown.command}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == 0, shown.command
            assert not shown.command.startswith("python ") or done.stderr == "", shown.command


@pytest.mark.parametrize(("text", "least"), [(README, 15), (SERVING, 8)], ids=["README", "docs/serving"])
def test_every_block_runs_as_shown_and_again(
    clean_copy: Path, text: str, least: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_commands = list(commands(text))
    assert len(shown_commands) > least
    run_as_shown(clean_copy, shown_commands)
    monkeypatch.chdir(clean_copy)  # a reader tries a line more than once; in this process that is quick
    for module, name in ((project, "ROOT"), (project, "RESULTS"), (project, "PRETRAINED"), (console, "ROOT")):
        monkeypatch.setattr(module, name, clean_copy / getattr(module, name).relative_to(PROJECT))
    for shown in shown_commands:
        if found := re.fullmatch(r"python (?!freezemodel_serve)(\w+)\.py([^;]*)", shown.command):
            done = run(found[1], *shlex.split(found[2]))
            assert matches(shown.output, done.stdout), f"$ {shown.command}, again\n{done.stdout}\n{done.stderr}"
            assert (done.status, done.stderr) == (0, ""), shown.command
        elif shown.command.startswith("rm "):
            run_as_shown(clean_copy, [shown])


def test_shell_blocks_are_all_console_blocks() -> None:
    """A block in another shell language would be shown and never run."""
    languages = set(re.findall(r"^```(\w*)$", README, re.MULTILINE))
    assert languages <= {"console", "python", "proto", ""}


def test_links_within_the_project_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README):
        assert target.startswith("https://") or (PROJECT / target).exists(), target
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", README, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors


def test_matching_notices_a_difference() -> None:
    assert matches("a  b\n...\nc 0.9...\n", "a b\nmore\nlines\nc 0.95\n")
    assert not matches("a\n", "b\n")
    assert not matches("a\nb\n", "a\nc\nb\n")
