"""Other converters on the same artefacts, without the project: what its exporters are compared with.

Each takes the artefact as it is, by the converter's own way in, and is told the inputs and outputs that a person who
knows the model would name. Its result is judged as the project's is: the runtime loads it, and gives the source's
answer on the same feeds, within the same tolerance. An answer in another dtype counts too.

    tf2onnx         the command line `python -m tf2onnx.convert`; run in onnxruntime
    TFLiteConverter from_frozen_graph, from_saved_model, built-in ops alone; run in LiteRT. It takes no checkpoint
    OpenVINO        its frontend cuts at the names; where it refuses, openvino.convert_model; run on the processor

Each function takes CASE, which `write_case` wrote, and returns 0, or raises UserError.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from forked import Main

from checkpoint_restore import open_checkpoint, read_checkpoint
from freezemodel_load import load, read_given_model
from savedmodel_pretrained import open_saved_model, read_saved_model
from serialization.errors import UserError
from serialization.flags import CONVERSION_FLAGS, SAVED_MODEL_FLAGS
from serialization.given_flags import choose_model
from serialization.parser import make_parser
from serialization.run.differences import OTHER_RUNTIME
from serialization.run.generated_feeds import generate_attempts
from serialization.run.given_feeds import read_feeds
from serialization.run.origin import Origin
from serialization.run.predictor import Run, Values
from serialization.sources.from_frozen import make_frozen_origin
from serialization.tensorflow import format_reason, np, tf, tf1

Tensors = dict[str, str]  # names in the source by the keys


@dataclass(frozen=True)
class Case:
    """A source, its inputs and outputs, and what it answers to some feeds; all by keys."""

    kind: str
    path: Path
    signature: str
    tags: str
    inputs: Tensors
    outputs: Tensors
    feeds: Sequence[Values]
    answers: Sequence[Values]


def write_case(argv: Sequence[str] | None) -> int:
    """Write a Case into a file, for the source and the feeds that the flags name."""
    file, *words = argv or ()
    parser = make_parser(
        None, "saved-model", "checkpoint", "graph", "rename", "partial", "ema", *SAVED_MODEL_FLAGS, *CONVERSION_FLAGS,
        frozen_model=None,
    )  # fmt: skip
    args = parser.parse_args(words)
    kind, _ = choose_model(parser, args, ("checkpoint", "frozen_model", "saved_model"))
    origin = open_source(kind, args)
    inputs, outputs = ({t.key: t.name for t in side} for side in (origin.signature.inputs, origin.signature.outputs))
    feeds, answers = find_answers(origin, args.feed)
    path = getattr(args, kind)
    case = Case(kind, path, args.signature or "", args.tag_set or "serve", inputs, outputs, feeds, answers)
    Path(file).write_bytes(pickle.dumps(case))
    return 0


def open_source(kind: str, args: Any) -> Origin:
    if kind == "checkpoint":
        return open_checkpoint(read_checkpoint(args))
    if kind == "saved_model":
        return open_saved_model(read_saved_model(args))
    ready = read_given_model(args)
    session, wanted = load(ready, "", optimize=False)
    return make_frozen_origin(session, ready, wanted)


def find_answers(origin: Origin, given: Any) -> tuple[list[Values], list[Values]]:
    """The first feeds that the source takes, and its answers."""
    wanted = origin.signature
    attempts = iter([[read_feeds(wanted, given)]]) if given else generate_attempts(wanted, origin.hints, origin.batches)
    failure: Exception | None = None
    for batches in attempts:
        found = []
        for feed in batches:
            try:
                found.append((feed, origin.predict(feed)))
            except tf.errors.OpError as error:
                failure = failure or error
        if found:
            return [feed for feed, _ in found], [answer for _, answer in found]
    raise UserError(f"no feeds were found that it takes: {format_reason(failure)}")


def judge(convert: Callable[[Case, Path], Run], argv: Sequence[str] | None) -> int:
    """Convert a case, run the result on the feeds, and compare."""
    case: Case = pickle.loads(Path((argv or ())[0]).read_bytes())
    with TemporaryDirectory() as folder:
        try:
            run = convert(case, Path(folder))
            results = [run(feed) for feed in case.feeds]
        except Exception as error:  # each library has errors of its own
            raise UserError(f"{type(error).__name__}: {format_reason(error)[:300]}") from None
    for expected, got in zip(case.answers, results, strict=True):
        for key, value in expected.items():
            answer = np.asarray(got[key])
            if answer.shape != value.shape:
                raise UserError(f"{key} is {list(answer.shape)}, not {list(value.shape)}")
            if not OTHER_RUNTIME.accepts(value, answer.astype(value.dtype)):
                raise UserError(f"{key} has other values")
    print("proved: the source's answers")
    return 0


def match(tensors: Tensors, known: Sequence[Collection[str]]) -> dict[str, int]:
    """The places of tensors among those that a runtime knows, each by some names; if it has other names, in order."""
    places: dict[str, int] = {}
    for key, name in tensors.items():
        node = name.removesuffix(":0")
        words = {name, node, key, f"{key}:0", f"serving_default_{key}", f"serving_default_{key}:0"}
        found = [place for place, names in enumerate(known) if words & set(names)]
        places |= {key: found[0]} if found else {}
    if len(places) < len(tensors) == len(known):
        return dict(zip(tensors, range(len(tensors)), strict=True))
    return places


def require_all(tensors: Tensors, places: dict[str, int]) -> dict[str, int]:
    if missing := tensors.keys() - places.keys():
        raise UserError(f"it has no output {', '.join(sorted(missing))}")
    return places


def to_text(value: Any) -> Any:
    """Strings as these runtimes take them; other values as they are."""
    if value.dtype != object:
        return value
    texts = [text.decode() if isinstance(text, bytes) else text for text in value.ravel()]
    return np.array(texts, object).reshape(value.shape)


def to_bytes(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "OU":
        return array
    texts = [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel()]
    return np.array(texts, object).reshape(array.shape)


def find_meta(path: Path) -> str:
    """The .meta file of a checkpoint's folder."""
    prefix = tf.train.latest_checkpoint(str(path))
    return f"{prefix}.meta" if prefix and Path(f"{prefix}.meta").is_file() else str(next(path.rglob("*.meta")))


def convert_by_tf2onnx(case: Case, folder: Path) -> Run:
    import onnxruntime
    import tf2onnx.convert

    target = str(folder / "m.onnx")
    names = ["--inputs", ",".join(case.inputs.values()), "--outputs", ",".join(case.outputs.values())]
    if case.kind == "checkpoint":
        words = ["--checkpoint", find_meta(case.path), *names]
    elif case.kind == "frozen_model":
        words = ["--graphdef", str(case.path), *names]
    else:
        words = ["--saved-model", str(case.path), "--tag", case.tags, "--signature_def", case.signature]
    with patch.object(sys, "argv", ["convert", *words, "--opset", "18", "--output", target]):
        tf2onnx.convert.main()
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    known = [[{one.name} for one in side] for side in (session.get_inputs(), session.get_outputs())]
    inputs, outputs = match(case.inputs, known[0]), require_all(case.outputs, match(case.outputs, known[1]))
    names = [one.name for one in session.get_inputs()]

    def run(feed: Values) -> Values:
        found = session.run(None, {names[place]: to_text(feed[key]) for key, place in inputs.items() if key in feed})
        return {key: to_bytes(found[place]) for key, place in outputs.items()}

    return run


def convert_by_tflite(case: Case, folder: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    if case.kind == "checkpoint":
        raise UserError("TFLiteConverter takes no checkpoint")
    if case.kind == "saved_model":
        keys, tags = [case.signature], set(case.tags.split(","))
        converter = tf.lite.TFLiteConverter.from_saved_model(str(case.path), signature_keys=keys, tags=tags)
        interpreter = Interpreter(model_content=converter.convert())
        call = interpreter.get_signature_runner(case.signature)
        return lambda feed: {key: np.array(value) for key, value in call(**feed).items()}
    nodes = [[name.removesuffix(":0") for name in side.values()] for side in (case.inputs, case.outputs)]
    from_frozen_graph = tf1.lite.TFLiteConverter.from_frozen_graph
    try:
        content = from_frozen_graph(str(case.path), *nodes).convert()
    except Exception:  # it may want to know sizes that the graph does not say
        shapes = {node: list(case.feeds[0][key].shape) for node, key in zip(nodes[0], case.inputs, strict=True)}
        content = from_frozen_graph(str(case.path), *nodes, input_shapes=shapes).convert()
    interpreter = Interpreter(model_content=content)
    details = interpreter.get_input_details(), interpreter.get_output_details()
    known = [[{one["name"]} for one in side] for side in details]
    inputs, outputs = match(case.inputs, known[0]), require_all(case.outputs, match(case.outputs, known[1]))

    def run(feed: Values) -> Values:
        for key, place in inputs.items():
            interpreter.resize_tensor_input(details[0][place]["index"], feed[key].shape)
        interpreter.allocate_tensors()
        for key, place in inputs.items():
            interpreter.set_tensor(details[0][place]["index"], feed[key])
        interpreter.invoke()
        return {key: np.array(interpreter.get_tensor(details[1][place]["index"])) for key, place in outputs.items()}

    return run


def convert_by_openvino(case: Case, folder: Path) -> Run:
    """The first way that converts and runs: cut at the names, cut with the ranks or shapes of the feeds, whole."""
    import openvino

    path = find_meta(case.path) if case.kind == "checkpoint" else str(case.path)
    ways: list[Callable[[], Any]] = [
        lambda: cut_by_openvino(case, path),
        lambda: cut_by_openvino(case, path, lambda shape: [-1] * len(shape)),
        lambda: cut_by_openvino(case, path, list),
        lambda: openvino.convert_model(path),
    ]
    failures = []
    for convert in ways:
        try:
            run = compile_by_openvino(case, convert())
            for feed in case.feeds:
                run(feed)
        except Exception as error:
            failures.append(error)
        else:
            return run
    raise failures[0]


def cut_by_openvino(case: Case, path: str, see: Callable[[Any], list[int]] | None = None) -> Any:
    """The part of a model between its inputs and outputs. `convert_model` itself refuses the names of inner tensors.

    The inputs get the shapes that `see` makes of those of the first feed.
    """
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager

    frontend = FrontEndManager().load_by_framework("tf")
    model = frontend.load(path)
    inputs, outputs = ([find_place(model, name) for name in side.values()] for side in (case.inputs, case.outputs))
    if inputs:
        model.extract_subgraph(inputs, outputs)
    else:
        model.override_all_outputs(outputs)
    if see:
        for key, name in case.inputs.items():
            model.set_partial_shape(find_place(model, name), PartialShape(see(case.feeds[0][key].shape)))
    return frontend.convert(model)


def find_place(model: Any, name: str) -> Any:
    if place := model.get_place_by_tensor_name(name):
        return place
    raise UserError(f"it has no tensor {name}")


def compile_by_openvino(case: Case, model: Any) -> Run:
    import openvino

    compiled = openvino.compile_model(model, "CPU")
    known = [[port.get_names() for port in side] for side in (compiled.inputs, compiled.outputs)]
    inputs, outputs = match(case.inputs, known[0]), require_all(case.outputs, match(case.outputs, known[1]))

    def run(feed: Values) -> Values:
        found = compiled({place: to_text(feed[key]) for key, place in inputs.items() if key in feed})
        return {key: to_bytes(np.array(found[compiled.outputs[place]])) for key, place in outputs.items()}

    return run


def run_tf2onnx(argv: Sequence[str] | None) -> int:
    return judge(convert_by_tf2onnx, argv)


def run_tflite(argv: Sequence[str] | None) -> int:
    return judge(convert_by_tflite, argv)


def run_openvino(argv: Sequence[str] | None) -> int:
    return judge(convert_by_openvino, argv)


PEERS: dict[str, Main] = {"tf2onnx": run_tf2onnx, "TFLiteConverter": run_tflite, "OpenVINO": run_openvino}


def describe_versions() -> str:
    """The versions of the converters, which are imported here, once for all processes that are forked."""
    for module in ("tf2onnx.convert", "onnxruntime", "ai_edge_litert.interpreter", "openvino"):
        import_module(module)
    assert tf.lite.TFLiteConverter
    packages = ("tf2onnx", "onnxruntime", "ai-edge-litert", "openvino")
    return ", ".join(f"{name} {version(name)}" for name in packages)
