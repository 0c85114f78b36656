"""Damages files and runs the scripts on them, in a process of its own, because TensorFlow may abort it.

    python tests/fuzzing.py FOLDER FIRST LAST [KIND ...]

runs the cases FIRST to LAST of each kind on the artefacts in FOLDER, and prints each case that ends neither with a
result nor with one error line. A case is a number; the same number always does the same damage to the same file.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mutations

from serialization.cli import call_main

SECONDS = 60  # no case takes longer, on a machine with other work
# Memory beyond what the process has before a case: what the undamaged file took, 4 times the damaged one, and what the
# allocator of a busy process may keep of earlier cases.
KEPT = {"looked at": 4 << 20, "loaded": 16 << 20, "changed": 32 << 20}  # a changed message is many small objects
# So that what would take all memory fails instead. TensorFlow's threads reserve much address space that they never use.
ADDRESSES = {"looked at": 256 << 20, "loaded": 8 << 30}


Change = Callable[[bytes, int], bytes]


@dataclass(frozen=True)
class Kind:
    """A file to damage, relative to the folder of the artefacts, and the script that is to read it."""

    file: str
    script: str
    words: tuple[str, ...]
    needs: str = ""  # what else to copy: a folder, relative as `file`
    change: Change | None = None  # what is made of the file, if not `damage`


def _inspect(file: str, path: str | None = None, needs: str = "") -> Kind:
    return Kind(file, "model_inspect", (path or file, "--json"), needs)


def _freeze(file: str, *words: str) -> Kind:
    return Kind(file, "freezemodel_save", ("--checkpoint", "toy.ckpt", "--frozen-model", "m.pb", *words), "toy.ckpt")


_SAVED = ("--saved-model", "image", "--image", "image.png")
_FROZEN = ("--inputs", "x=x", "--outputs", "y=y")
# Read from their bytes alone.
LOOKED_AT = {
    "graph": _inspect("frozen.pb"),
    "graph text": _inspect("frozen.pbtxt"),
    "meta": _inspect("toy.ckpt.meta", "toy.ckpt", "toy.ckpt"),
    "meta text": _inspect("meta.pbtxt"),
    "index": _inspect("toy.ckpt.index", "toy.ckpt", "toy.ckpt"),
    "data": _inspect("toy.ckpt.data-00000-of-00001", "toy.ckpt", "toy.ckpt"),
    "v1": _inspect("v1.ckpt", needs="v1.ckpt"),
    "state": _inspect("toy/checkpoint", "toy", "toy"),
    "saved": _inspect("image/saved_model.pb", "image", "image"),
    "saved text": _inspect("text/saved_model.pbtxt", "text", "text"),
    "saved index": _inspect("image/variables/variables.index", "image", "image"),
    "freeze data": _freeze("toy.ckpt.data-00000-of-00001", "--no-verify", "--outputs", "y"),
    "freeze meta": _freeze("toy.ckpt.meta", "--no-verify"),
    "picture": Kind(
        "frozen.pb", "model_inspect", ("frozen.pb", "--dot", "x.dot", "--tensorboard", "logs", "--overwrite")
    ),
}
# Loaded and run by TensorFlow, or read by it: a variable that is not stored as one plain slice.
LOADED = {
    "freeze index": _freeze("toy.ckpt.index", "--no-verify", "--outputs", "y"),
    "load graph": Kind("frozen.pb", "freezemodel_load", ("--frozen-model", "frozen.pb", *_FROZEN)),
    "load graph text": Kind("frozen.pbtxt", "freezemodel_load", ("--frozen-model", "frozen.pbtxt", *_FROZEN)),
    "restore meta": Kind("toy.ckpt.meta", "checkpoint_restore", ("--checkpoint", "toy.ckpt"), "toy.ckpt"),
    "restore index": Kind("toy.ckpt.index", "checkpoint_restore", ("--checkpoint", "toy.ckpt"), "toy.ckpt"),
    "restore data": Kind(
        "toy.ckpt.data-00000-of-00001", "checkpoint_restore", ("--checkpoint", "toy.ckpt"), "toy.ckpt"
    ),
    "restore v1": Kind("v1.ckpt", "checkpoint_restore", ("--checkpoint", "v1.ckpt"), "v1.ckpt"),
    "load saved": Kind("image/saved_model.pb", "savedmodel_pretrained", _SAVED, "image"),
    "load saved text": Kind(
        "text/saved_model.pbtxt", "savedmodel_pretrained", ("--saved-model", "text", *_SAVED[2:]), "text"
    ),
    "load saved index": Kind("image/variables/variables.index", "savedmodel_pretrained", _SAVED, "image"),
    "load saved data": Kind("image/variables/variables.data-00000-of-00001", "savedmodel_pretrained", _SAVED, "image"),
}
_CHANGES = {
    "graph": mutations.mutate_graph,
    "picture": mutations.mutate_graph,
    "load graph": mutations.mutate_graph,
    "meta": mutations.mutate_meta_graph,
    "restore meta": mutations.mutate_meta_graph,
    "saved": mutations.mutate_saved_model,
    "load saved": mutations.mutate_saved_model,
    "index": mutations.mutate_index,
    "freeze index": mutations.mutate_index,
    "saved index": mutations.mutate_index,
    "restore index": mutations.mutate_index,
    "load saved index": mutations.mutate_index,
    "v1": mutations.mutate_v1,
    "restore v1": mutations.mutate_v1,
}
# The same files, where the message in them is changed and stays well-formed.
MUTATED = {f"mutated {name}" for name in _CHANGES}
for _kinds in (LOOKED_AT, LOADED):
    _kinds |= {f"mutated {name}": replace(_kinds[name], change=_CHANGES[name]) for name in _CHANGES.keys() & _kinds}
KINDS = LOOKED_AT | LOADED


def damage(data: bytes, case: int) -> bytes:
    """The file with some damage: bits flipped, its end cut off, bytes random, lost, doubled or zeroed, or all noise."""
    generator = random.Random(case)
    changed = bytearray(data)
    how = generator.choice(("flip", "flip", "flip", "cut", "noise", "lose", "double", "zero", "number", "random"))
    start = generator.randrange(len(data) + 1)
    length = generator.choice((1, 2, 4, 16, 256))
    if how == "flip":
        for _ in range(generator.choice((1, 1, 2, 8, 64))):
            changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    elif how == "cut":
        del changed[start:]
    elif how == "noise":
        changed[start : start + length] = generator.randbytes(length)
    elif how == "lose":
        del changed[start : start + length]
    elif how == "double":
        changed[start:start] = changed[start : start + length]
    elif how == "zero":
        changed[start : start + length] = bytes(length)
    elif how == "number":  # a length or a size that is far too large
        changed[start : start + 5] = b"\xff\xff\xff\xff\x07"
    else:
        changed = bytearray(generator.randbytes(generator.choice((1, 7, 48, 1000))))
    return bytes(changed)


class Hang(BaseException):
    """A case took longer than SECONDS."""


def _alarm(*_: object) -> None:
    raise Hang


def run_case(folder: Path, name: str, case: int) -> tuple[int, str]:
    """Damage the kind's file as `case` says, -1 for not at all, and run the script on it.

    Returns the exit status, and what is wrong with how it ended, or nothing.
    """
    kind = KINDS[name]
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(os.chdir, Path.cwd())
        os.chdir(scratch)
        if (folder / kind.needs).is_dir() and kind.needs:
            shutil.copytree(folder / kind.needs, kind.needs)
        else:
            for file in folder.glob(f"{kind.needs}*" if kind.needs else kind.file):
                if file.is_file():
                    shutil.copy(file, ".")
        shutil.copy(folder / "image.png", ".")
        target = Path(kind.file)
        if case >= 0:
            target.write_bytes((kind.change or damage)(target.read_bytes(), case))
        status, written = _call(kind)
    if "Traceback" in written:
        # After the traceback stands what TensorFlow wrote before.
        said = re.findall(
            r'^  File ".*?([^/]+)", line (\d+)|^(\S*(?:Error|Exception|Interrupt)\b.*|Hang)$', written, re.M
        )
        last = [f"{file}:{line}" if file else error for file, line, error in said]
        return status, f"traceback: {' '.join(last[-6:])[-700:]}"
    if status == 0:
        return status, f"wrote to stderr: {written[:300]}" if written else ""
    one_line = written.startswith("error: ") and written.endswith("\n") and written.count("\n") == 1
    return status, "" if status == 1 and one_line else f"{written[:300]}"


def _call(kind: Kind) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(2 * SECONDS, exit=True)  # an alarm waits for TensorFlow's C++ to return
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = call_main(importlib.import_module(kind.script).main, kind.words)
    except SystemExit as stop:
        status = int(stop.code or 0)
    except Hang:
        return -1, "".join(traceback.format_exc()[-600:]) + "Traceback: it hangs"
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
    return status, err.getvalue()


def limit_addresses(more: int) -> None:
    """From now on the process can have so many bytes more than it has: beyond that it fails with MemoryError."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + more, resource.RLIM_INFINITY))


class Memory:
    """What a case takes: the most memory that the process had while it ran, beyond what it had before, in bytes."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # from here on VmHWM is counted anew, see proc(5)
        self.before = self._read("VmRSS")

    def taken(self) -> int:
        return self._read("VmHWM") - self.before

    def _read(self, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


def longest(folder: Path, name: str) -> int:
    """The bytes of the kind's file, and what damage may add to it."""
    return (folder / KINDS[name].file).stat().st_size + 1000


def cases(lines: Iterator[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        name, case = json.loads(line)
        yield name, case


def main() -> int:
    """As a worker: reads [kind, case] lines, and says how each ended. With FIRST and LAST: runs them all."""
    folder = Path(sys.argv[1]).resolve()
    signal.signal(signal.SIGALRM, _alarm)
    if len(sys.argv) > 3:
        names = sys.argv[4:] or list(KINDS)
        todo: Iterator[tuple[str, int]] = ((n, c) for n in names for c in range(int(sys.argv[2]), int(sys.argv[3])))
    else:
        todo = cases(iter(sys.stdin.readline, ""))
    undamaged: dict[str, int] = {}
    for name, case in todo:
        if not undamaged:
            run_case(folder, name, -1)  # what the script needs is imported, TensorFlow has its threads
            limit_addresses(ADDRESSES["loaded" if name in LOADED else "looked at"])
        if name not in undamaged:
            run_case(folder, name, -1)
            memory = Memory()
            run_case(folder, name, -1)
            undamaged[name] = memory.taken()
        memory = Memory()
        status, wrong = run_case(folder, name, case)
        taken = memory.taken() - undamaged[name] - 4 * longest(folder, name)
        if not wrong and taken > KEPT["loaded" if name in LOADED else "changed" if name in MUTATED else "looked at"]:
            wrong = f"took {taken / (1 << 20):.1f} MiB more than the undamaged file and 4 times the damaged one"
        if os.environ.get("SHOW"):
            print(name, case, f"{taken / (1 << 20):.1f}", f"{undamaged[name] / (1 << 20):.1f}", file=sys.__stderr__)
        if wrong or len(sys.argv) == 2:
            print(json.dumps({"kind": name, "case": case, "status": status, "wrong": wrong}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
