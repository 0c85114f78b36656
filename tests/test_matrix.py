"""The matrix of formats: each file that a script makes of a model gives the model's own answers in another program.

Sources are made and asked by TensorFlow and Keras, results are run by TensorFlow's loaders, onnxruntime and LiteRT: by
nothing of the project's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import PROJECT, Run
from matrix_models import LAYERS, Source, Sources, Values

from serialization.tensorflow import np, tf, tf1

# The scripts that lead from one format to another. A new script gets its line here and in WRITES, and is tested on all
# models; where it cannot be, a line in REFUSED.
CELLS: dict[tuple[str, str], tuple[str, ...]] = {
    ("checkpoint", "checkpoint"): ("checkpoint_edit",),
    ("checkpoint", "frozen"): ("freezemodel_save",),
    ("checkpoint", "saved_model"): ("savedmodel_from_checkpoint",),
    ("frozen", "checkpoint"): ("checkpoint_from_frozen",),
    ("frozen", "frozen"): ("freezemodel_edit",),
    ("frozen", "saved_model"): ("savedmodel_from_frozen",),
    ("saved_model", "checkpoint"): ("checkpoint_from_savedmodel",),
    ("saved_model", "frozen"): ("freezemodel_save",),
    ("saved_model", "saved_model"): ("savedmodel_edit",),
    ("keras", "checkpoint"): ("savedmodel_from_keras", "checkpoint_from_savedmodel"),
    ("keras", "frozen"): ("freezemodel_save",),
    ("keras", "saved_model"): ("savedmodel_from_keras",),
    **{(source, "onnx"): ("onnx_from_frozen",) for source in ("checkpoint", "frozen", "saved_model", "keras")},
    **{(source, "litert"): ("tflite_from_frozen",) for source in ("checkpoint", "frozen", "saved_model", "keras")},
}
CELLS |= {("h5", target): scripts for (source, target), scripts in CELLS.items() if source == "keras"}
del CELLS["h5", "checkpoint"]  # the second step is the same as from .keras
# What a script names its result by.
WRITES = {
    **dict.fromkeys(("checkpoint_edit", "freezemodel_edit", "savedmodel_edit"), "--out"),
    "freezemodel_save": "--frozen-model",
    "checkpoint_from_frozen": "--out",
    "checkpoint_from_savedmodel": "--out",
    "savedmodel_from_checkpoint": "--export-dir",
    "savedmodel_from_frozen": "--export-dir",
    "savedmodel_from_keras": "--export-dir",
    "onnx_from_frozen": "--onnx",
    "tflite_from_frozen": "--tflite",
}
OPERATION = "needs Greater, which Keras does not have; .* if it is an operation of Keras, save the model as .keras"
TABLES = "LiteRT's built-in ops lack HashTableV2, InitializeTableV2, LookupTableFindV2; "
# The cells that cannot be, by source, target and model, each with its reason; a pattern of the line that says so.
REFUSED: dict[tuple[str, str, str], str] = {
    # Keras 3 cannot read the toy's comparison, an operation that is no layer, from the .h5 file that it wrote itself.
    **{("h5", target, "toy"): OPERATION for target in ("frozen", "saved_model", "onnx", "litert")},
    # LiteRT has no tables of words.
    **{(source, "litert", "text"): TABLES for source in ("checkpoint", "frozen", "saved_model", "keras", "h5")},
}
# What a cell needs: LiteRT's lists of tensors have elements of a fixed shape, so of a fixed batch.
FLAGS: dict[tuple[str, str, str], tuple[str, ...]] = {
    (source, "litert", "lstm"): ("--batch-size", "2") for source in ("frozen", "saved_model", "keras", "h5")
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, made: Path) -> Sources:
    return Sources(tmp_path_factory.mktemp("sources"), made / "graph.ckpt")


def run_checkpoint(path: Path, feeds: Values) -> tuple[None, Values]:
    meta_graph = tf1.MetaGraphDef.FromString(path.with_name(f"{path.name}.meta").read_bytes())
    signature = meta_graph.signature_def["serving_default"]
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(meta_graph).restore(session, str(path))
        session.run(tf1.tables_initializer())
        assert tf1.trainable_variables()
        assert set(signature.inputs) == set(feeds)
        given = {signature.inputs[key].name: value for key, value in feeds.items()}
        return None, session.run({key: tensor.name for key, tensor in signature.outputs.items()}, given)


def run_edited_checkpoint(path: Path, source: Source) -> Values:
    """The graph of the new checkpoint, or where it has none that of the source, with the new checkpoint's variables."""
    flags = dict(zip(source.words[::2], source.words[1::2], strict=True))
    inputs, outputs = (
        dict(pair.split("=") for pair in str(flags[f"--{side}"]).split(",")) for side in ("inputs", "outputs")
    )
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        if "--graph" in flags:
            tf1.import_graph_def(tf1.GraphDef.FromString(Path(str(flags["--graph"])).read_bytes()), name="")
            saved = tf1.train.load_checkpoint(str(path))
            handles = {op.name: op.outputs[0] for op in graph.get_operations() if op.type == "VarHandleOp"}
            assert handles.keys() == saved.get_variable_to_shape_map().keys()
            for name, handle in handles.items():
                session.run(tf.raw_ops.AssignVariableOp(resource=handle, value=saved.get_tensor(name)))
        else:
            tf1.train.import_meta_graph(f"{path}.meta").restore(session, str(path))
            session.run(tf1.tables_initializer())
        given = {inputs[key]: value for key, value in source.feeds.items()}
        answers: Values = session.run(outputs, given)
        return answers


def run_frozen(path: Path, feeds: Values) -> tuple[list[str], Values]:
    """The names and the order are recorded in the nodes: VERSION:ROLE:PLACE:INDEX:KEY (docs/design.md)."""
    graph_def = tf1.GraphDef.FromString(path.read_bytes())
    found: dict[str, list[tuple[int, str, str]]] = {"input": [], "output": []}
    for node in graph_def.node:
        for entry in node.attr["_serialization_signature"].list.s:
            _, role, place, index, key = entry.decode().split(":", 4)
            found[role].append((int(place), key, f"{node.name}:{index}"))
    inputs, outputs = ({key: name for _, key, name in sorted(side)} for side in found.values())
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.import_graph_def(graph_def, name="")
        return list(inputs), session.run(outputs, {inputs[key]: value for key, value in feeds.items()})


def run_saved_model(path: Path, feeds: Values) -> tuple[None, Values]:
    call = tf.saved_model.load(str(path)).signatures["serving_default"]
    assert set(call.structured_input_signature[1]) == set(feeds)
    answers = call(**{key: tf.constant(value) for key, value in feeds.items()})
    return None, {key: value.numpy() for key, value in answers.items()}


def run_onnx(path: Path, feeds: Values) -> tuple[list[str], Values]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs, outputs = ([one.name for one in side] for side in (session.get_inputs(), session.get_outputs()))
    return inputs, dict(zip(outputs, session.run(None, feeds), strict=True))


def run_litert(path: Path, feeds: Values) -> tuple[None, Values]:
    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    assert set(runner.get_input_details()) == set(feeds)
    return None, runner(**feeds)


# By target; each gives the keys of the inputs, where the format has an order, and the answers by their keys.
RUN: dict[str, Callable[[Path, Values], tuple[list[str] | None, Values]]] = {
    "checkpoint": run_checkpoint,
    "frozen": run_frozen,
    "saved_model": run_saved_model,
    "onnx": run_onnx,
    "litert": run_litert,
}


@pytest.mark.parametrize("model", LAYERS)
@pytest.mark.parametrize(("source", "target"), CELLS)
def test_a_cell(run: Run, sources: Sources, tmp_path: Path, source: str, target: str, model: str) -> None:
    made = sources.get(source, model)
    words, path = made.words, tmp_path / "unset"
    for script in CELLS[source, target]:
        path = tmp_path / script
        # checkpoint_edit takes no part of a graph; savedmodel_edit renames keys of the ResNet if nothing is asked for.
        others = {"checkpoint_edit": words[:2], "savedmodel_edit": (*words, "--signature", "serving_default")}
        flags = FLAGS.get((source, target, model), ())
        done = run(script, *others.get(script, words), *flags, WRITES[script], path)
        words = ("--saved-model", path)  # the way of two steps leads by this
        if (source, target, model) in REFUSED:
            assert (done.status, done.stdout.count("proved")) == (1, 0)
            assert re.search(REFUSED[source, target, model], done.stderr)
            assert not list(tmp_path.iterdir())
            return
        assert (done.status, done.stderr) == (0, "")
        assert re.search("^(proved|measured): ", done.stdout, re.MULTILINE)
    if source == target == "checkpoint":
        inputs, answers = None, run_edited_checkpoint(path, made)
    else:
        inputs, answers = RUN[target](path, made.feeds)
    assert set(answers) == set(made.answers)
    if inputs is not None:
        assert (inputs, list(answers)) == (list(made.feeds), list(made.answers)), "the order of the keys"
    for key, value in made.answers.items():
        require_same(answers[key], value)


def require_same(found: Any, expected: Any) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected)


def test_the_cells_are_those_of_the_readme() -> None:
    """But for `checkpoint_save --resume`, which trains a checkpoint on, and for the way of two steps."""
    lines = (PROJECT / "README.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    rows = {"checkpoint": "checkpoint", "frozen model": "frozen", "SavedModel": "saved_model", "Keras 2 and 3": "keras"}
    columns = table[0].index("to a checkpoint"), table[0].index("to predictions")
    shown = {
        (rows[name], script)
        for name, *cells in table
        if name in rows
        for cell in cells[columns[0] - 1 : columns[1] - 1]
        for script in re.findall(r"`(\w+)", cell)
    }
    tested = {(source, scripts[0]) for (source, _), scripts in CELLS.items() if source != "h5" and len(scripts) == 1}
    assert shown - {("checkpoint", "checkpoint_save")} == tested
    assert {*REFUSED, *FLAGS} <= {(*cell, model) for cell in CELLS for model in LAYERS}
