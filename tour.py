"""Run every step in order, on the toy model and on the ResNet, and show each command with its output and its proof.

Runs each script as you would, asks the server with curl, and runs the exports with saved_model_cli.

    python tour.py
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from serialization import cli, project
from serialization.console import shorten_path, show_path
from serialization.errors import UserError
from serialization.parser import make_parser

CHECKPOINT = project.RESULTS / "savedmodel_from_checkpoint"
ROW, ROWS = '{"x": [[0,1,2,3,4,5,6,7,8,9]]}', '{"x": [[0,1,2,3,4,5,6,7,8,9],[5,5,5,5,5,5,5,5,5,5]]}'


def chapter(title: str) -> None:
    print(f"\n# {title}\n", flush=True)


def run(*words: str | Path) -> str:
    """Show and run a command, and return its output. Raises UserError unless it ends with status 0."""
    shown = [shorten_path(word) if isinstance(word, Path) else word for word in words]
    print(f"$ {shlex.join(shown)}", flush=True)
    program = {"python": sys.executable, "saved_model_cli": str(Path(sys.executable).with_name("saved_model_cli"))}
    # TensorFlow's own tool writes its log to stderr; the scripts write only errors there.
    done = subprocess.run([program.get(str(words[0]), words[0]), *words[1:]], capture_output=True, text=True)
    print(done.stdout, flush=True)
    if done.returncode != 0 or (words[0] == "python" and done.stderr):
        message = done.stderr.strip().removeprefix("error: ") or "no message"
        raise UserError(f"{words[1]} ended with status {done.returncode}: {message}")
    return done.stdout


def step(script: str) -> None:
    """Run a script without flags. Raises UserError unless it prints a proof."""
    if "proved: " not in run("python", project.ROOT / script):
        raise UserError(f"{script} proved nothing")


def expect(name: str, expected: object, found: object) -> None:
    if found != expected:
        raise UserError(f"{name}: expected {expected}, found {found}")
    print(f"proved: {name} is {json.dumps(expected) if not isinstance(expected, str) else expected}\n", flush=True)


def ask_server() -> None:
    """Start the server on a free port, send it the two requests, stop it with Ctrl-C."""
    words = ["python", shorten_path(project.ROOT / "freezemodel_serve.py"), "--port", "0"]
    print(f"$ {shlex.join(words)} &", flush=True)
    server = subprocess.Popen([sys.executable, *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        ready = server.stdout.readline()  # empty if the server ends instead
        print(ready, flush=True)
        if ready:
            url = f"{ready.split(' on ')[1].split(';')[0]}/api/predict"
            for body, answer in ((ROW, {"y": [[False]]}), (ROWS, {"y": [[False], [True]]})):
                header = "Content-Type: application/json"
                printed = run("curl", "--silent", "-X", "POST", "-H", header, url, "-d", body)
                expect("the answer", answer, json.loads(printed))
    finally:
        print("$ kill -INT %1", flush=True)
        server.send_signal(signal.SIGINT)
        _, stderr = server.communicate(timeout=60)
    if stderr or not ready:
        raise UserError(f"the server failed: {stderr.strip()}")
    expect("the server's exit status", 0, server.returncode)


def main(argv: Sequence[str] | None = None) -> int:
    make_parser(__doc__).parse_args(argv)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the server ends too

    chapter("A checkpoint: all variables, to go on training from")
    step("checkpoint_save.py")
    step("checkpoint_restore.py")
    step("checkpoint_edit.py")

    chapter("A frozen model: variables become constants in one file")
    step("freezemodel_save.py")
    step("freezemodel_load.py")
    step("freezemodel_edit.py")
    ask_server()
    step("checkpoint_from_frozen.py")

    chapter("A SavedModel: graph, variables and signatures in one folder")
    step("savedmodel_from_source.py")
    step("savedmodel_from_checkpoint.py")
    run("saved_model_cli", "show", "--dir", CHECKPOINT, "--tag_set", "serve", "--signature_def", "serving_default")
    step("savedmodel_from_frozen.py")
    step("savedmodel_from_keras.py")
    arguments = ("--tag_set", "serve", "--signature_def", "serving_default")
    expression = "--input_exprs=inputs_1=[[0,1,2,3,4,5,6,7,8,9]]"
    for name in ("source", "checkpoint", "frozen", "keras"):
        folder = project.RESULTS / f"savedmodel_from_{name}"
        printed = run("saved_model_cli", "run", "--dir", folder, *arguments, expression)
        expect("its output1", "[[False]]", printed.splitlines()[-1])

    chapter("Models for other runtimes")
    step("onnx_from_frozen.py")
    step("tflite_from_frozen.py")

    chapter("A look into a SavedModel, without TensorFlow's runtime")
    run("python", project.ROOT / "model_inspect.py", CHECKPOINT)

    chapter("A pretrained SavedModel: a ResNet")
    run("saved_model_cli", "show", "--dir", project.PRETRAINED / "1", *arguments)
    step("savedmodel_pretrained.py")
    step("checkpoint_from_savedmodel.py")
    step("savedmodel_edit.py")

    seconds = time.monotonic() - started
    print(f"every step proved itself, in {seconds:.0f} seconds; the files are in {show_path(project.RESULTS)}")
    return 0


if __name__ == "__main__":
    cli.run(main, loads_model=False)
