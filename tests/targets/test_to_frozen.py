"""Control flow, state and ops of TensorFlow 0.12 to 1.x are frozen, and run like their source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

from serialization.sources.frozen_reader import read_graph_def
from serialization.tensorflow import np, tf, tf1

GRAPHS: dict[str, tuple[Callable[[], None], int, dict[str, str], str]] = {}
ARRAYS = [f"TensorArray{what}" for what in ("", "Write", "Read", "Gather", "Size")]


def old(
    repaired: str = "", producer: int = 0, renamed: dict[str, str] | None = None
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """A graph with ops `renamed` to their names up to GraphDef version `producer`."""

    def add(build: Callable[[], None]) -> Callable[[], None]:
        GRAPHS[build.__name__] = (build, producer, renamed or {}, repaired)
        return build

    return add


def rows() -> Any:
    return tf1.placeholder(tf.float32, [None, 3], name="x")


def held(name: str, *shape: int, resource: bool = False) -> Any:
    start = tf1.random_normal_initializer(seed=1)
    return tf1.get_variable(name, shape, initializer=start, use_resource=resource)


@old()
def loop() -> None:
    weights = held("w", 3, 3)
    _, y = tf1.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, tf.tanh(a @ weights)), (0, rows()))
    tf.identity(y, "y")


@old()
def loop_with_a_condition_and_both_kinds_of_variables() -> None:
    first, second = held("a", 3, 3, resource=True), held("b", 3)

    def body(i: Any, a: Any) -> Any:
        return i + 1, tf1.cond(tf.equal(i % 2, 0), lambda: a @ first, lambda: a + second)

    tf.identity(tf1.while_loop(lambda i, _: i < 4, body, (0, rows()))[1], "y")


@old("replaced 1 Assign op with Identity")
def condition_that_assigns() -> None:
    x, mean = rows(), held("mean", 3)
    training = tf1.placeholder_with_default(False, [], name="is_training")
    y = tf1.cond(training, lambda: x - tf1.assign(mean, tf.reduce_mean(x, 0)), lambda: x - mean)
    tf.identity(y, "y")


@old()
def condition_that_assigns_a_resource() -> None:
    x, mean = rows(), held("mean", 3, resource=True)
    training = tf1.placeholder_with_default(False, [], name="is_training")
    y = tf1.cond(training, lambda: x - tf1.assign(mean, tf.reduce_mean(x, 0)), lambda: x - mean)
    tf.identity(y, "y")


@old("replaced 1 RefSwitch op with Switch")
def references_that_switch() -> None:
    way = tf1.placeholder_with_default(False, [], name="is_training")
    ends = tf.raw_ops.RefSwitch(data=held("v", 3)._ref(), pred=way)
    tf.add(rows(), tf.raw_ops.RefMerge(inputs=list(ends))[0], name="y")


@old("replaced 1 RefEnter op with Enter")
def references_that_enter() -> None:
    entered = tf.raw_ops.RefEnter(data=held("v", 3)._ref(), frame_name="f", is_constant=False, parallel_iterations=1)
    tf.add(rows(), tf.identity(tf.raw_ops.RefExit(data=tf.raw_ops.RefIdentity(input=entered))), name="y")


@old("replaced 1 Assign op with Identity")
def assignment_on_the_way() -> None:
    tf.add(rows(), tf1.assign(held("v", 3), tf.constant([1.0, 2.0, 3.0])), name="y")


@old()
def array_of_tensors() -> None:
    x, weights = rows(), held("w", 3, 3)

    def body(i: Any, array: Any) -> Any:
        return i + 1, array.write(i, x @ weights * tf.cast(i, tf.float32))

    _, array = tf1.while_loop(lambda i, _: i < 4, body, (0, tf1.TensorArray(tf.float32, 4)))
    tf.transpose(array.stack(), [1, 0, 2], name="y")


@old("removed 1 wrong recorded shape", 21, {f"{name}V3": f"{name}V2" for name in ARRAYS})
def array_of_tensors_2() -> None:
    x = rows()
    tf.constant(0.0, name="flow")
    array = tf1.TensorArray(tf.float32, 2, clear_after_read=False)
    array = array.write(0, x @ held("w", 3, 3)).write(1, x)
    tf.add(array.read(0), array.stack()[1], name="y")


@old("removed 1 wrong recorded shape", 15, {f"{name}V3": name for name in ARRAYS})
def array_of_tensors_1() -> None:
    array_of_tensors_2()


@old("", 8, {"AddN": "BatchNormWithGlobalNormalization"})
def batch_norm_of_the_first_days() -> None:
    x = tf1.placeholder(tf.float32, [2, 4, 4, 3], name="x")
    for name in ("mean", "variance", "beta", "gamma"):
        tf.identity(tf1.get_variable(name, initializer=[1.0, 2.0, 3.0], use_resource=False), name=f"{name}_read")
    tf.identity(tf.raw_ops.AddN(inputs=[x, x]), "y")


@old("", 10, {"Neg": "SelfAdjointEig"})
def eigenvalues_with_eigenvectors() -> None:
    x = tf1.placeholder(tf.float32, [3, 3], name="x")
    tf.identity(tf.negative(x * held("w", 3, 3)), "y")


@old("", 17, {"BatchMatMulV2": "BatchMatMul", "AddV2": "Add", "ConcatV2": "Concat", "RealDiv": "Div"})
def names_of_the_first_year() -> None:
    x = tf1.placeholder(tf.float32, [None, 3, 3], name="x")
    product = tf.matmul(x, tf.tile(held("w", 1, 3, 3), [tf.shape(x)[0], 1, 1]))
    a, b = tf.unstack(tf.stack([product, x]))
    tf.identity(tf.concat([a + b, a * b - b, a / 2.0], 2), "y")
    tf1.summary.scalar("sum", tf.reduce_sum(product))


@old()
def simulated_quantization() -> None:
    ends = (tf1.get_variable(n, initializer=v, use_resource=False) for n, v in (("low", -1.0), ("high", 5.0)))
    tf.quantization.fake_quant_with_min_max_vars(rows(), *ends, name="y")


@old()
def quantization() -> None:
    x, *x_range = tf.quantization.quantize(rows(), 0.0, 10.0, tf.quint8)
    w, *w_range = tf.quantization.quantize(held("w", 3, 3), -3.0, 3.0, tf.quint8)
    ends = dict(zip(("min_a", "max_a", "min_b", "max_b"), (*x_range, *w_range), strict=True))
    product, low, high = tf.raw_ops.QuantizedMatMul(a=x, b=w, Toutput=tf.qint32, **ends)
    tf.quantization.dequantize(product, low, high, name="y")


@old()
def queue_and_report_of_uninitialized() -> None:
    queue = tf1.FIFOQueue(10, [tf.float32], [[3]])
    queue.enqueue([np.ones(3, "f")])
    tf.matmul(queue.dequeue_many(2), held("w", 3, 3), name="y")
    tf1.report_uninitialized_variables()


def _age(meta_graph: Any, producer: int, renamed: dict[str, str]) -> None:
    """Change the graph to the form of GraphDef version `producer`."""
    meta_graph.graph_def.versions.producer = producer
    for node in meta_graph.graph_def.node:
        new = renamed.get(node.op)
        if new is None or node.name.startswith("save"):
            continue
        if node.op.startswith("TensorArray"):  # its flow began with a constant, and its handle was a string
            node.input[:] = ["flow" if edge == "TensorArray:1" else edge for edge in node.input]
            for name in ("identical_element_shapes", *(["element_shape"] if new in ARRAYS else [])):
                node.attr.pop(name, None)
        elif new == "BatchNormWithGlobalNormalization":
            node.input[:] = [node.input[0], *(f"{name}_read" for name in ("mean", "variance", "beta", "gamma"))]
            del node.attr["N"]
            node.attr["variance_epsilon"].f = 0.1
            node.attr["scale_after_normalization"].b = True
        elif new == "Concat":  # the axis came first
            node.input[:] = [node.input[-1], *node.input[:-1]]
            del node.attr["Tidx"]
        node.op = new


@pytest.fixture(autouse=True)
def _first_control_flow() -> Iterator[None]:
    """Enter, Exit, Switch, Merge."""
    tf1.disable_control_flow_v2()
    yield
    tf1.enable_control_flow_v2()


@pytest.mark.parametrize("name", GRAPHS)
def test_old_ops_are_frozen_and_loaded(run: Run, tmp_path: Path, name: str) -> None:
    build, producer, renamed, repaired = GRAPHS[name]
    prefix = graphs.save(tmp_path, build)
    if producer:
        graphs.edit_meta(prefix, lambda meta_graph: _age(meta_graph, producer, renamed))
    frozen = tmp_path / "m.pb"
    done = run("freezemodel_save", "--checkpoint", prefix, "--outputs", "y", "--frozen-model", frozen)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: the same bits as the source" in done.stdout
    assert f"repaired: {repaired}" in done.stdout or not repaired
    held_back = [node.op for node in read_graph_def(frozen).node if "Variable" in node.op or node.op.startswith("Ref")]
    assert held_back == []
    now = {node.op for node in read_graph_def(frozen).node}
    assert set(renamed.values()) & now or not renamed, "the old ops are still those of the graph"
    done = run("freezemodel_load", "--frozen-model", frozen, "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
