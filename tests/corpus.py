"""Convert, prove and run every artefact of a folder of real models, and print a table of the outcomes.

    python tests/corpus.py FOLDER [--only WORD] [--report FILE] [--stock | --peers]

The folder holds checkpoints/NAME/, frozen/NAME/, savedmodels/NAME/ and negative/NAME/. Beside a frozen graph there may
be recorded values: NAME.placeholder.csv to feed and NAME.prediction.csv to expect, with a .shape file for each.
HINTS.tsv names, for some, the outputs and the feeds that a person who knows the model would choose.

Each step is the script that a user would run, as a process of its own with a time limit:

    checkpoints   freezemodel_save.py, freezemodel_load.py on the result, savedmodel_from_checkpoint.py;
                  checkpoint_edit.py, which puts all variables into another scope
    frozen        savedmodel_from_frozen.py; freezemodel_load.py, whose outputs are compared with recorded ones
    savedmodels   freezemodel_save.py --saved-model for each signature, freezemodel_load.py on the result;
                  checkpoint_from_savedmodel.py; savedmodel_edit.py, which gives all inputs and outputs other keys
    negative      each of them: the right answer is a refusal

Each frozen graph goes through checkpoint_from_frozen.py, too: the columns `checkpoint` count the artefacts that have
parameters, those of them that were converted and proved, and those that trained for a step.

Each frozen graph, given or made, is exported as well, by onnx_from_frozen.py and tflite_from_frozen.py: a refusal
of that is no failure, for ONNX and LiteRT lack ops. The table counts for how many artefacts an export was proved.

Where values are recorded or outputs hinted, the outputs that are inferred without flags must be the same. The variables
of a checkpoint that is made of a frozen graph have to be those of the model which was frozen.

An artefact fails where a step ends with a traceback, is killed, runs out of time, is wrong, or where a negative one is
accepted. Exit status 1 if one fails.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import peers
import stock_route
from forked import FAILED, REFUSED, UNVERIFIED, VERIFIED, Main, Step, run

import checkpoint_edit
import checkpoint_from_frozen
import checkpoint_from_savedmodel
import freezemodel_load
import freezemodel_save
import onnx_from_frozen
import savedmodel_edit
import savedmodel_from_checkpoint
import savedmodel_from_frozen
import tflite_from_frozen
from serialization.console import format_count, print_table
from serialization.errors import UserError
from serialization.files.locate import find_checkpoint, find_frozen_model, find_saved_model
from serialization.files.model_names import is_prefix
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import VARIABLES
from serialization.graph.random_ops import find_random_outputs
from serialization.graph.signature import Signature, Tensor, list_signature_defs
from serialization.parser import make_parser
from serialization.run.given_feeds import read_feeds
from serialization.run.predictor import Predictor
from serialization.sources import from_saved_model
from serialization.sources.from_checkpoint import PreparedCheckpoint, prepare_checkpoint, read_checkpoint_graph
from serialization.sources.from_frozen import PreparedFrozenModel, prepare_frozen_model
from serialization.sources.frozen_reader import GraphFile, read_graph_def, read_graph_file
from serialization.tensorflow import explain_failures, np, tf

CHECKPOINT = ("with parameters", "restored", "trained")  # what became of the frozen graphs of an artefact
EXPORTERS: dict[str, tuple[Main, str]] = {
    "ONNX": (onnx_from_frozen.main, "--onnx"),
    "LiteRT": (tflite_from_frozen.main, "--tflite"),
}
UNORDERED = "its order, which TopKV2 leaves open"


@dataclass(frozen=True)
class Stored:
    """A variable of a checkpoint."""

    name: str
    shape: tuple[int, ...]
    checksum: int


@dataclass(frozen=True)
class Artefact:
    """A folder of the corpus, and the outputs and feeds that a person who knows the model would name."""

    kind: str
    path: Path
    outputs: str | None
    feeds: dict[str, object]


def find(folder: Path, only: str) -> Iterator[Artefact]:
    hints = {}
    if (folder / "HINTS.tsv").is_file():
        with (folder / "HINTS.tsv").open() as file:
            hints = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    for kind in ("checkpoints", "frozen", "savedmodels", "negative"):
        for path in sorted((folder / kind).glob("*/")):
            if re.search(only, path.name):
                hint = hints.get(path.name, {})
                yield Artefact(kind, path, hint.get("outputs"), dict(make_feeds(hint.get("feeds_json", "{}"))))


def make_feeds(text: str) -> Iterator[tuple[str, object]]:
    """The feeds of a hint: "f" floats, "i" integers, "b" false, each of a shape; "v" a value, "v5" fives of a shape."""
    for name, (kind, value) in json.loads(text).items():
        yield name.removesuffix(":0"), None if value is None else value if kind == "v" else fill(kind, value)


def fill(kind: str, shape: list[int]) -> object:
    if not shape:
        return {"b": False, "f": 0.5, "i": 1}.get(kind, 5)
    return [fill(kind, shape[1:]) for _ in range(shape[0])]


def flags(feeds: dict[str, object], out: Path) -> list[object]:
    """`--inputs` and `--feed` for these; a feed of None only names the input."""
    words: list[object] = ["--inputs", ",".join(feeds)] if feeds else []
    for number, (key, value) in enumerate(feeds.items()):
        file = out / f"feed{number}.json"
        file.write_text(json.dumps(value))
        words += ["--feed", f"{key}=@{file}"] if value is not None else []
    return words


def steps(artefact: Artefact, out: Path) -> Iterator[Step]:
    path = artefact.path
    if artefact.kind == "checkpoints":
        yield from convert_checkpoint(path, artefact.outputs, artefact.feeds, out)
        words = ("--rename", "=edited", "--out", out / "edited.ckpt")
        yield run("edit", checkpoint_edit.main, "--checkpoint", path, *words)
    elif artefact.kind == "frozen":
        yield from convert_frozen(artefact, out)
    elif artefact.kind == "savedmodels" or saved_models(path):
        yield from convert_saved_model(path, out)
        if artefact.kind == "savedmodels":
            yield from edit_saved_models(path, out)
    else:
        yield from convert_checkpoint(path, None, {}, out)


def convert_checkpoint(path: Path, outputs: str | None, feeds: dict[str, object], out: Path) -> Iterator[Step]:
    frozen, words = out / "frozen.pb", ["--checkpoint", path]
    step = run("freeze, inferred", freezemodel_save.main, *words, "--frozen-model", frozen)
    yield step
    if outputs is not None and step.outcome != REFUSED:
        yield compare_names(outputs.split(","), *words)
    if outputs is None and step.outcome == REFUSED:
        return
    if outputs is not None:
        words += ["--outputs", outputs, *flags(feeds, out)]
        step = run("freeze", freezemodel_save.main, *words, "--frozen-model", frozen, "--overwrite")
        yield step
    if step.outcome in (VERIFIED, UNVERIFIED):
        yield run("run", freezemodel_load.main, "--frozen-model", frozen, *words[2:])
        yield run(
            "checkpoint",
            checkpoint_from_frozen.main,
            "--frozen-model",
            frozen,
            *words[2:],
            "--out",
            out / "frozen.ckpt",
        )
        yield run("variables", compare_variables, out / "frozen.ckpt", path, *words[2:])
        yield from export_on("", out, "--frozen-model", frozen, *words[2:])
    yield run("export", savedmodel_from_checkpoint.main, *words, "--export-dir", out / "export")


def edit_saved_models(path: Path, out: Path) -> Iterator[Step]:
    """Each MetaGraphDef with other keys, which sort in the other order."""
    for folder in saved_models(path):
        for file in read_graphs(folder):
            tags: list[object] = ["--tag-set", ",".join(file.meta_graph.meta_info_def.tags)]
            signatures = list_signature_defs(file.meta_graph).values()
            for side in ("input", "output"):
                keys = sorted({key for one in signatures for key in getattr(one, f"{side}s")}, reverse=True)
                for number, key in enumerate(keys):
                    tags += [f"--rename-{side}", f"{key}={side}{number:03}"]
            words = ("--saved-model", folder, *tags, "--out", out / "edited", "--overwrite")
            yield run("edit", savedmodel_edit.main, *words)


def read_graphs(folder: Path) -> list[GraphFile]:
    """The graphs of a SavedModel; none if it cannot be read."""
    try:
        return from_saved_model.read_saved_model(find_saved_model(folder, whole=False).file)
    except UserError:
        return []


def stock_steps(artefact: Artefact, out: Path) -> Iterator[Step]:
    """The same with TensorFlow's own calls, outputs and feeds known as far as a person who knows the model would."""
    path = artefact.path
    names: list[object] = ["--outputs", artefact.outputs] if artefact.outputs else []
    if artefact.kind == "checkpoints":
        words = ["--checkpoint", path, *names, *flags(artefact.feeds, out)]
        yield run("stock", stock_route.checkpoint, *words, quiet=False)
    elif artefact.kind == "frozen":
        for file, expected, words in frozen_files(artefact, out):
            if expected:
                yield compare(file, expected, stock_route.frozen, *words, quiet=False)
            else:
                yield run("stock", stock_route.frozen, "results=", *words, quiet=False)
    elif artefact.kind == "savedmodels":
        for folder in saved_models(path):
            for tags, key in signatures(folder):
                words = ["--saved-model", folder, "--signature", key, *tags]
                yield run(f"stock {key}", stock_route.saved_model, *words, quiet=False)


def peer_steps(artefact: Artefact, out: Path) -> Iterator[Step]:
    """What other converters make of the same artefacts, by ways of their own."""
    for number, (key, words) in enumerate(list_sources(artefact, out)):
        step = run(f"source {key}".strip(), peers.write_case, out / f"case{number}", *words, quiet=False)
        yield step
        if step.outcome == VERIFIED:
            for name, main in peers.PEERS.items():
                yield run(f"{name} {key}".strip(), main, out / f"case{number}", quiet=False)


def list_sources(artefact: Artefact, out: Path) -> Iterator[tuple[str, list[object]]]:
    """The models of an artefact: the key of the signature, and the flags that a person who knows it would give."""
    if artefact.kind == "checkpoints":
        names: list[object] = ["--outputs", artefact.outputs, *flags(artefact.feeds, out)] if artefact.outputs else []
        yield "", ["--checkpoint", artefact.path, *names]
    elif artefact.kind == "frozen":
        yield from (("", words) for _, _, words in frozen_files(artefact, out))
    else:
        for folder in saved_models(artefact.path):
            for tags, key in signatures(folder):
                yield key, ["--saved-model", folder, *tags, *(("--signature", key) if key else ())]


def convert_frozen(artefact: Artefact, out: Path) -> Iterator[Step]:
    for file, expected, words in frozen_files(artefact, out):
        step = run("export", savedmodel_from_frozen.main, *words, "--export-dir", out / "export")
        yield step
        yield run("checkpoint", checkpoint_from_frozen.main, *words, "--out", out / "frozen.ckpt")
        names = [*expected] or (artefact.outputs or "").split(",")
        if any(names) and step.outcome != REFUSED:
            yield compare_names(names, "--frozen-model", file)
        if expected:
            yield compare(file, expected, answer, *words)
        else:
            yield run("run", freezemodel_load.main, *words)
        if step.outcome != REFUSED:
            yield from export_on("", out, *words)


def export_on(key: str, out: Path, *words: object) -> Iterator[Step]:
    """A frozen model as other runtimes take it."""
    for name, (main, flag) in EXPORTERS.items():
        yield run(f"{name} {key}".strip(), main, *words, flag, out / "exported", "--overwrite")


def frozen_files(artefact: Artefact, out: Path) -> Iterator[tuple[Path, dict[str, Any], list[object]]]:
    """The frozen graphs of a folder, what they should compute, and the flags to run them with."""
    for file in sorted((*artefact.path.glob("*.pb"), *artefact.path.glob("*.pbtxt"))):
        expected = dict(recorded(artefact.path, "prediction"))
        words: list[object] = ["--frozen-model", file]
        if expected:
            words += ["--outputs", ",".join(f"{name}={name}" for name in expected)]
        elif artefact.outputs:
            words += ["--outputs", artefact.outputs]
        given = {name.removesuffix(":0"): value.tolist() for name, value in recorded(artefact.path, "placeholder")}
        fed = flags(given or artefact.feeds, out)
        yield file, expected, [*words, *fed]


def recorded(folder: Path, what: str) -> Iterator[tuple[str, Any]]:
    """The recorded tensors: their names as NODE:INDEX, and their values."""
    for file in sorted(folder.rglob(f"*.{what}.csv")):
        name = str(file.relative_to(folder)).removesuffix(f".{what}.csv").replace("____", "/")
        match = re.fullmatch(r"(.*)\.(\d+)", name)
        text = file.with_name(file.name.replace(".csv", ".shape")).read_text()
        shape = [int(size) for size in re.findall(r"\d+", text)]
        lines = file.read_text().split()
        values: list[Any] = [line == "true" if line in ("true", "false") else float(line) for line in lines]
        if all(isinstance(value, float) and value.is_integer() for value in values):
            values = [int(value) for value in values]  # of a whole dtype, or of a float that takes them too
        if shape == [0] and len(values) == 1:
            shape = []  # so some write a scalar
        yield (f"{match[1]}:{match[2]}" if match else f"{name}:0"), np.array(values).reshape(shape)


def compare(file: Path, expected: dict[str, Any], main: Main, *words: object, quiet: bool = True) -> Step:
    """The outputs that `main` writes into a file, compared with the recorded ones."""
    with tempfile.TemporaryDirectory() as folder:
        step = run("run", main, f"results={folder}/out.npz", *words, quiet=quiet)
        if step.outcome != VERIFIED:
            return step
        loose = unspecified(file, expected)
        results = np.load(f"{folder}/out.npz", allow_pickle=False)
        for name, value in expected.items():
            got, want = results[name], np.asarray(value)
            if got.shape != want.shape:
                return Step("run", FAILED, f"{name} is {got.shape}, recorded {want.shape}", step.seconds)
            got, want = got.astype(float), want.astype(float)
            scale = float(np.max(np.abs(want), initial=1.0, where=np.isfinite(want)))
            if name in loose:
                got, want = (np.sort(got, None), np.sort(want, None)) if loose[name] == UNORDERED else (got, got)
            if not np.allclose(got, want, rtol=1e-4, atol=1e-6 * scale, equal_nan=True):
                worst = np.nanmax(np.abs(got - want))
                return Step("run", FAILED, f"{name} differs from the recorded values by {worst:.3g}", step.seconds)
    but = "".join(f"; {name} but for {why}" for name, why in loose.items())
    return Step("run", VERIFIED, f"{', '.join(expected)}: as recorded{but}", step.seconds)


def compare_names(names: Iterable[str], *words: object) -> Step:
    """The outputs that are inferred for a model without flags, compared with those that a person who knows it names."""
    with tempfile.NamedTemporaryFile("r") as file:
        step = run("infer", name_outputs, file.name, *words)
        inferred = file.read().split()
    wanted = sorted(name if ":" in name else f"{name}:0" for name in names)
    if step.outcome == VERIFIED and inferred != wanted:
        return Step("infer", FAILED, f"inferred {', '.join(inferred)}; meant {', '.join(wanted)}", step.seconds)
    return step


def name_outputs(argv: Sequence[str] | None) -> int:
    """Write the names of the outputs of `--checkpoint` or `--frozen-model` into a file."""
    file, flag, path = argv or ()
    prepared: PreparedCheckpoint | PreparedFrozenModel
    if flag == "--checkpoint":
        held = find_checkpoint(Path(path))
        prepared = prepare_checkpoint(held, read_checkpoint_graph(held))
    else:
        prepared = prepare_frozen_model(read_graph_file(find_frozen_model(Path(path))))
    Path(file).write_text("\n".join(sorted(tensor.name for tensor in prepared.signature.outputs)))
    return 0


def unspecified(file: Path, names: Iterable[str]) -> dict[str, str]:
    """For outputs whose values are not specified, why: a random op, or a TopKV2 that need not sort."""
    index = GraphIndex(read_graph_def(file))
    outputs = tuple(Tensor(name, name, "float32", None) for name in names)
    found = dict.fromkeys(find_random_outputs(index, Signature((), outputs)), "its values, which are random")
    for name in names:
        above = (index.nodes[node] for node in index.reachable([name]))
        if any(node.op == "TopKV2" and "sorted" in node.attr and not node.attr["sorted"].b for node in above):
            found.setdefault(name, UNORDERED)
    return found


def compare_variables(argv: Sequence[str] | None) -> int:
    """Compare the variables of a checkpoint with those of the checkpoint that was frozen for it, by their names."""
    made, path, *words = argv or ()
    args = make_parser(None, "inputs", "outputs", "feed").parse_args(words)
    held = find_checkpoint(Path(path))
    prepared = prepare_checkpoint(held, read_checkpoint_graph(held), args.inputs, args.outputs)
    wanted = {node.name for node in prepared.index.graph_def.node if node.op in VARIABLES}
    require_same(wanted, {variable.name for variable in read_variables(Path(made))})
    return 0


def compare_checkpoints(argv: Sequence[str] | None) -> int:
    """Compare the variables of two checkpoints by their names, or if these differ by their values.

    A SavedModel may know better names than its graph. Its init op may give a variable other values at each load.
    """
    made, wanted = (read_variables(Path(path)) for path in argv or ())
    names = [{(v.name, v.shape) for v in variables} for variables in (wanted, made)]
    values = [{(v.shape, v.checksum) for v in variables} for variables in (wanted, made)]
    require_same(*(names if names[0] == names[1] else values))
    return 0


def read_variables(prefix: Path) -> list[Stored]:
    """The variables of a checkpoint; none if there is no checkpoint, since its source has no parameters."""
    if not is_prefix(prefix):
        return []
    held = find_checkpoint(prefix)
    return [Stored(v.name, tuple(v.shape), held.places[v.name.encode()].checksum) for v in held.variables]


def require_same(wanted: set[Any], made: set[Any]) -> None:
    if wanted != made:
        raise AssertionError(f"missed {sorted(wanted - made)}, extra {sorted(made - wanted)}")
    print(f"proved: {format_count(len(made), 'variable')}, none missed, none extra")


def answer(argv: Sequence[str] | None) -> int:
    """Run the model as freezemodel_load.py does, but write all values of the outputs into a file."""
    parser = make_parser(None, "inputs", "outputs", "feed", frozen_model=None)
    file, *words = argv or ()
    args = parser.parse_args(words)
    opened = find_frozen_model(args.frozen_model)
    predict = Predictor(*freezemodel_load.open_frozen(opened, args.inputs, args.outputs))
    with explain_failures("the model does not run on what was recorded"):
        results = predict(read_feeds(predict.signature, args.feed or []))
    np.savez(file.removeprefix("results="), allow_pickle=False, **results)
    return 0


def saved_models(path: Path) -> list[Path]:
    return sorted({file.parent for file in (*path.rglob("saved_model.pb"), *path.rglob("saved_model.pbtxt"))})


def convert_saved_model(path: Path, out: Path) -> Iterator[Step]:
    for folder in saved_models(path):
        for tags, key in signatures(folder):
            frozen = out / f"{len(list(out.iterdir()))}.pb"
            words: list[object] = ["--saved-model", folder, *tags, *(("--signature", key) if key else ())]
            step = run(f"freeze {key}", freezemodel_save.main, *words, "--frozen-model", frozen)
            yield step
            if step.outcome in (VERIFIED, UNVERIFIED):
                yield run(f"run {key}", freezemodel_load.main, "--frozen-model", frozen)
                prefixes = [frozen.with_suffix(end) for end in (".ckpt", ".saved.ckpt")]
                yield run("checkpoint", checkpoint_from_frozen.main, "--frozen-model", frozen, "--out", prefixes[0])
                saved = run("saved", checkpoint_from_savedmodel.main, *words, "--out", prefixes[1])
                yield saved
                if saved.outcome != REFUSED:  # without variables, its weights are constants of the program
                    yield run("variables", compare_checkpoints, *prefixes)
                yield from export_on(key, out, "--frozen-model", frozen)


def signatures(folder: Path) -> Iterator[tuple[list[object], str]]:
    """The signatures of a SavedModel: the words for `--tag-set`, where it has several, and the key."""
    meta_graphs = [graph.meta_graph for graph in read_graphs(folder)]
    for meta_graph in meta_graphs:
        tags: list[object] = ["--tag-set", ",".join(meta_graph.meta_info_def.tags)] if len(meta_graphs) > 1 else []
        keys = [key for key in sorted(meta_graph.signature_def) if not key.startswith("__saved_model_")]
        yield from ((tags, key) for key in keys or [""])
    if not meta_graphs:
        yield [], ""


def judge_checkpoint(done: list[Step]) -> Iterator[str]:
    """Which of the words of CHECKPOINT hold for an artefact, whose frozen graphs became checkpoints."""
    steps = [step for step in done if step.what == "checkpoint" and "has no parameters" not in step.why]
    if steps and any(step.outcome != REFUSED for step in steps):
        yield CHECKPOINT[0]
        if all(step.outcome in (VERIFIED, UNVERIFIED) for step in steps):
            yield CHECKPOINT[1]
        if any(" moved " in step.why for step in steps):
            yield CHECKPOINT[2]


def verdict(artefact: Artefact, done: list[Step]) -> str:
    """One word for an artefact: its worst failure, else its best success."""
    outcomes = [step.outcome for step in done]
    if FAILED in outcomes or (artefact.kind == "negative" and set(outcomes) != {REFUSED}):
        return FAILED
    return next((outcome for outcome in (VERIFIED, UNVERIFIED, REFUSED) if outcome in outcomes), FAILED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="artefacts whose names match this regular expression"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table as JSON lines, too")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--stock", action="store_true", help="go TensorFlow's own way instead, for comparison")
    ways.add_argument("--peers", action="store_true", help="have other converters do it instead, for comparison")
    args = parser.parse_args()
    if args.peers and find_spec("openvino") is None:
        parser.error("--peers needs openvino; `make peers` runs it where that is")
    way, tools = (peer_steps, tuple(peers.PEERS)) if args.peers else (stock_steps if args.stock else steps, EXPORTERS)
    print(f"TensorFlow {tf.__version__}", flush=True)  # imported here, once for all processes
    if args.peers:
        print(peers.describe_versions())
    counts: dict[str, Counter[str]] = {}
    unfrozen: dict[str, Counter[str]] = {}
    for artefact in find(args.folder, args.only):
        if way is not steps and artefact.kind == "negative":
            continue
        with tempfile.TemporaryDirectory() as out:
            done = list(way(artefact, Path(out)))
        word = verdict(artefact, done)
        counted = counts.setdefault(artefact.kind, Counter())
        counted.update((word, "artefacts"))
        unfrozen.setdefault(artefact.kind, Counter()).update(judge_checkpoint(done))
        for name in (*tools, "source"):
            counted[name] += any(step.what.startswith(name) and step.outcome == VERIFIED for step in done)
        print(f"{artefact.path.name} ({artefact.kind}): {word}", flush=True)
        for step in done:
            print(f"    {step.what:16} {step.outcome:12} {step.seconds:5.1f} s  {step.why}", flush=True)
        if args.report:
            with args.report.open("a") as file:
                rows = [vars(step) for step in done]
                file.write(
                    json.dumps({"name": artefact.path.name, "kind": artefact.kind, "outcome": word, "steps": rows})
                    + "\n"
                )
    print()
    if args.peers:
        columns = ("artefacts", "source", *tools)
        print_table(("kind", *columns), [(kind, *(found[word] for word in columns)) for kind, found in counts.items()])
        return 0
    words = (VERIFIED, UNVERIFIED, REFUSED, FAILED, *EXPORTERS)
    table = [
        (kind, *(found[word] for word in words), *(unfrozen[kind][word] for word in CHECKPOINT))
        for kind, found in counts.items()
    ]
    print_table(("kind", *words, *(f"checkpoint: {word}" for word in CHECKPOINT)), table)
    return int(any(found[FAILED] for found in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
