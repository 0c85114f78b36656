"""The usual snippets, which call TensorFlow alone, on the same artefacts: what the project is compared with.

Each function takes the words that a script's main takes, and returns 0 if the model ran and its result is right.
    checkpoint   import_meta_graph, Saver.restore, convert_variables_to_constants, import_graph_def, run both
    frozen       ParseFromString, import_graph_def, run
    saved_model  tf.saved_model.load, call the signature, as people do since TensorFlow 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serialization.errors import UserError
from serialization.files.locate import find_saved_model
from serialization.graph import signature
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import read_signature_def, split_tensors
from serialization.parser import make_parser
from serialization.run.feed_hints import find_hints
from serialization.run.generated_feeds import generate_attempts
from serialization.run.given_feeds import Feed, read_feeds
from serialization.sources import from_saved_model, meta_graph_choice
from serialization.tensorflow import format_reason, np, tf, tf1


def checkpoint(argv: Sequence[str] | None) -> int:
    args = _parse(argv, checkpoint=None)
    path = args.checkpoint
    prefix = tf.train.latest_checkpoint(str(path)) or str(next(path.glob("*.meta"))).removesuffix(".meta")
    graph = tf1.Graph()
    with graph.as_default(), tf1.Session() as session:
        saver = tf1.train.import_meta_graph(f"{prefix}.meta", clear_devices=True)
        saver.restore(session, prefix)
        inputs, outputs = _names(graph, args)
        values, expected = _first_answer(session, inputs, outputs, args.feed)
        nodes = [name.partition(":")[0] for name in outputs]
        frozen = tf1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), nodes)
    return _require_same(expected, _run(frozen, outputs, values))


def frozen(argv: Sequence[str] | None) -> int:
    args = _parse(argv, frozen_model=None)
    graph_def = tf1.GraphDef()
    graph_def.ParseFromString(args.frozen_model.read_bytes())
    graph = tf1.Graph()
    with graph.as_default():
        tf1.import_graph_def(graph_def, name="")
    inputs, outputs = _names(graph, args)
    with tf1.Session(graph=graph) as session:
        _, results = _first_answer(session, inputs, outputs, args.feed)
    if args.results:
        np.savez(args.results, allow_pickle=False, **dict(zip(outputs, results, strict=True)))
    return 0


def saved_model(argv: Sequence[str] | None) -> int:
    args = _parse(argv, saved_model=None)
    loaded = tf.saved_model.load(str(args.saved_model))
    call = loaded.signatures[args.signature]
    chosen = meta_graph_choice.choose_meta_graph(
        from_saved_model.read_saved_model(find_saved_model(args.saved_model, whole=False).file), args.tag_set
    )
    wanted = read_signature_def(chosen.meta_graph.signature_def[args.signature])
    graphs = (GraphIndex(call.graph.as_graph_def()), chosen.index)
    hinted = find_hints(graphs[0], wanted) or find_hints(graphs[1], wanted)
    failure: Exception | None = None
    for batches in generate_attempts(wanted, hinted):
        try:
            call(**{key: tf.constant(value) for key, value in batches[0].items()})
            return 0
        except (tf.errors.OpError, ValueError, TypeError) as error:
            failure = failure or error
    raise UserError(f"no feeds were found that it takes: {format_reason(failure)}")


def _parse(argv: Sequence[str] | None, **source: Any) -> Any:
    words = list(argv or ())
    results = words.pop(0).removeprefix("results=") if words and words[0].startswith("results=") else None
    args = make_parser(None, "inputs", "outputs", "feed", "tag-set", "signature", **source).parse_args(words)
    args.results = results
    return args


def _names(graph: Any, args: Any) -> tuple[list[str], list[str]]:
    """The names that the flags give; else the usual guess: all placeholders, and the last op that has an output."""
    inputs = [name for _, name in split_tensors(args.inputs or "")]
    outputs = [name for _, name in split_tensors(args.outputs or "")]
    if not inputs:
        inputs = [f"{op.name}:0" for op in graph.get_operations() if op.type == "Placeholder"]
    if not outputs:
        outputs = [next(op.outputs[0].name for op in reversed(graph.get_operations()) if op.outputs)]
    return inputs, outputs


def _first_answer(session: Any, inputs: Sequence[str], outputs: list[str], given: Sequence[Feed] | None) -> Any:
    """The first feeds that the graph takes, and its answer; a person would know what to feed."""
    graph = session.graph
    tensors = [graph.get_tensor_by_name(name) for name in inputs]
    wanted = signature.Signature(tuple(_tensor(t.name.removesuffix(":0"), t.dtype, t.shape) for t in tensors), ())
    hinted = find_hints(GraphIndex(graph.as_graph_def()), wanted)
    attempts = iter([[read_feeds(wanted, given)]]) if given else generate_attempts(wanted, hinted)
    failure: Exception | None = None
    for batches in attempts:
        values = {f"{key}:0" if ":" not in key else key: value for key, value in batches[0].items()}
        try:
            return values, list(session.run(outputs, values))
        except tf.errors.OpError as error:
            failure = failure or error
    raise UserError(f"no feeds were found that it takes: {format_reason(failure)}")


def _tensor(key: str, dtype: Any, shape: Any) -> signature.Tensor:
    return signature.Tensor(key, f"{key}:0", dtype.name, None if shape.rank is None else tuple(shape.as_list()))


def _run(graph_def: Any, outputs: Sequence[str], values: dict[str, Any]) -> list[Any]:
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.import_graph_def(graph_def, name="")
        return list(session.run(list(outputs), values))


def _require_same(expected: Sequence[Any], got: Sequence[Any]) -> int:
    for want, value in zip(expected, got, strict=True):
        same = (
            np.array_equal(want, value) if want.dtype.kind in "OSU" else np.allclose(want, value, rtol=1e-4, atol=1e-6)
        )
        if not same:
            raise UserError("the frozen graph gives other numbers than the checkpoint")
    return 0
