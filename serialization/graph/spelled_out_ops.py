"""Spells ops that other runtimes lack out in ops that they have.

Each function here computes what its op does, as tensorflow/core/ops/ defines it, from the op's inputs. It returns None
where that needs something which the graph does not show, such as a rank; the op is left then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from serialization.console import format_count
from serialization.formats.dtypes import DOUBLE
from serialization.graph.graph_def import (
    change_op,
    find_free_name,
    get_node_name,
    get_tensor_name,
    list_control_edges,
    list_data_edges,
)
from serialization.graph.graph_index import GraphIndex
from serialization.tensorflow import explain_failures, np, tf, tf1

# x * P(x^2) / Q(x^2) is the error function of x, cut off at +-4, within 2e-7: Eigen's generic_fast_erf_float.
_ERF_P = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
_ERF_Q = (
    *(-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03),
    -1.42647390514189e-02,
)


def spell_out(graph_def: Any, ops: Collection[str], in_float32: Collection[str] = ()) -> list[str]:
    """Replace nodes with one of these `ops`, in place, by nodes that compute the same. Returns a line on each op.

    Ops of one number `in_float32` are computed in float32 where they are float64.
    """
    done: Counter[tuple[str, bool]] = Counter()
    left: set[str] = set()  # nodes whose op has no formula that fits

    def find_formula(node: Any) -> Callable[..., Any] | None:
        if node.op in in_float32 and node.attr["T"].type == DOUBLE:
            return _compute_in_float32
        return _FORMULAS[node.op] if node.op in ops and node.name not in left else None

    while wanted := [(node, formula) for node in graph_def.node if (formula := find_formula(node))]:
        with tf1.Graph().as_default() as graph, explain_failures("the graph cannot be read"):
            tf1.import_graph_def(graph_def, name="")
        index = GraphIndex(graph_def)
        for node, formula in wanted:  # it may have such an op itself
            op = node.op
            if _spell_out(index, node, formula, graph):
                done[op, formula is _compute_in_float32] += 1
            else:
                left.add(node.name)
    return [
        f"computed {format_count(count, f'{op} op')} in float32, as the runtime has it"
        if narrowed
        else f"spelled out {format_count(count, f'{op} op')}, which the format lacks"
        for (op, narrowed), count in done.items()
    ]


def _spell_out(index: GraphIndex, node: Any, formula: Callable[..., Any], graph: Any) -> bool:
    """Make the node the last step of its formula, whose other steps are added to the graph; False if it is left."""
    edges = list_data_edges(node)
    with tf1.Graph().as_default() as steps:
        inputs = [_stand_in(index, graph, edge, f"input{place}") for place, edge in enumerate(edges)]
        answer = formula(node, *inputs)
    if answer is None:
        return False
    nodes, given = index.nodes, {f"input{place}": edge for place, edge in enumerate(edges)}
    names: dict[str, str] = {}

    def follow(edge: str) -> str:
        name, _, output = edge.partition(":")
        return given.get(name) or names[name] + (output and f":{output}")

    for step in steps.as_graph_def().node:
        if step.op == "Placeholder":
            continue
        names[step.name] = step_name = find_free_name(f"{node.name}/{step.name}", nodes)
        step.input[:] = [follow(edge) for edge in step.input]
        if not step.input and edges:
            step.input.append(f"^{get_node_name(edges[0])}")  # in a loop, all that a node takes is of that loop
        step.name = step_name
        nodes[step_name] = index.graph_def.node.add()
        nodes[step_name].CopyFrom(step)
    control = list_control_edges(node)
    change_op(node, "Identity", [follow(answer.name.removesuffix(":0")), *control], T=answer.dtype.as_datatype_enum)
    return True


def _stand_in(index: GraphIndex, graph: Any, edge: str, name: str) -> Any:
    """A placeholder for the tensor on an edge, or the constant itself if it is one: some formulas read its value."""
    tensor = graph.get_tensor_by_name(get_tensor_name(edge))
    producer = index.producer(edge)
    if producer is not None and producer.op == "Const" and tensor.dtype.is_integer:
        return tf.constant(tf.make_ndarray(producer.attr["value"].tensor))
    return tf1.placeholder(tensor.dtype, tensor.shape, name)


def _compute_in_float32(node: Any, x: Any) -> Any:
    return tf.cast(getattr(tf.raw_ops, node.op)(x=tf.cast(x, tf.float32)), x.dtype)


def _log1p(_: Any, x: Any) -> Any:
    """Goldberg's way, which is exact for small x: "What every computer scientist should know", theorem 4."""
    u = x + 1
    return tf.where(tf.equal(u, 1), x, tf.where(tf.equal(u, x), tf.math.log(u), tf.math.log(u) * x / (u - 1)))


def _expm1(_: Any, x: Any) -> Any:
    """Kahan's way: Higham, "Accuracy and Stability of Numerical Algorithms", 1.14.1."""
    u = tf.exp(x)
    is_extreme = tf.equal(u - 1, -1) | tf.equal(u - 1, u)
    return tf.where(tf.equal(u, 1), x, tf.where(is_extreme, u - 1, (u - 1) * x / tf.math.log(u)))


def _erf(_: Any, x: Any) -> Any:
    x = tf.clip_by_value(x, -4, 4)
    square = x * x
    above, below = (tf.zeros_like(x) + part[0] for part in (_ERF_P, _ERF_Q))
    for number in _ERF_P[1:]:
        above = above * square + number
    for number in _ERF_Q[1:]:
        below = below * square + number
    return x * above / below


def _cross(_: Any, a: Any, b: Any) -> Any:
    if a.shape.rank is None and b.shape.rank is None:
        return None
    a = tf.reshape(a, tf.shape(b)) if a.shape.rank is None else a  # a loop does not show the shape of its variables
    b = tf.reshape(b, tf.shape(a)) if b.shape.rank is None else b
    (a1, b1), (a2, b2) = ([tf.gather(one, turn, axis=-1) for one in (a, b)] for turn in ([1, 2, 0], [2, 0, 1]))
    return a1 * b2 - a2 * b1


def _is_diagonal(rows: Any, columns: Any) -> Any:
    return tf.equal(tf.range(rows)[:, None], tf.range(columns)[None, :])


def _diag(_: Any, x: Any) -> Any:
    flat, count, zero = tf.reshape(x, [-1]), tf.size(x), tf.zeros([], x.dtype)
    matrix = tf.where(_is_diagonal(count, count), flat[:, None], zero)
    return tf.reshape(matrix, tf.concat([tf.shape(x)] * 2, 0))


def _diag_part(_: Any, x: Any) -> Any:
    if x.shape.rank is None:
        return None
    sizes = tf.shape(x)[: x.shape.rank // 2]
    count = tf.reduce_prod(sizes)
    matrix = tf.where(_is_diagonal(count, count), tf.reshape(x, tf.stack([count, count])), tf.zeros([], x.dtype))
    return tf.reshape(tf.reduce_sum(matrix, 1), sizes)


def _matrix_diag_part(_: Any, x: Any, offset: Any = 0, *__: Any) -> Any:
    if x.shape.rank is None or np.any(tf.get_static_value(offset) != 0):
        return None
    rows, columns = tf.shape(x)[-2], tf.shape(x)[-1]
    matrix = tf.where(_is_diagonal(rows, columns), x, tf.zeros([], x.dtype))
    return tf.reduce_sum(matrix, -1)[..., : tf.minimum(rows, columns)]


def _line(_: Any, start: Any, stop: Any, count: Any) -> Any:
    steps = tf.cast(tf.maximum(count - 1, 1), start.dtype)
    return start + tf.cast(tf.range(count), start.dtype) * ((stop - start) / steps)


def _patches(node: Any, x: Any) -> Any:
    """A convolution whose kernel has a one for each number of a patch."""
    depth, (_, *sizes, _) = x.shape[-1] if x.shape.rank else None, node.attr["ksizes"].list.i
    if depth is None or not x.dtype.is_floating:
        return None
    kernel = np.eye(int(np.prod(sizes)) * depth).reshape(*sizes, depth, -1)
    strides, rates = (list(node.attr[name].list.i) for name in ("strides", "rates"))
    padding = node.attr["padding"].s.decode()
    return tf.nn.conv2d(x, tf.constant(kernel, x.dtype), strides, padding, dilations=rates)


def _remainder(_: Any, x: Any, y: Any) -> Any:
    return x - y * tf.truncatediv(x, y) if x.dtype.is_integer else None


def _contrast(_: Any, images: Any, factor: Any) -> Any:
    mean = tf.reduce_mean(images, [-3, -2], keepdims=True)
    return (images - mean) * tf.cast(factor, images.dtype) + mean


def _split_hue(images: Any) -> tuple[Any, Any, Any]:
    """The hue of RGB images, 0 to 1, and the least and the most of the three channels."""
    red, green, blue = tf.split(images, 3, -1)
    low, high = (f(images, -1, keepdims=True) for f in (tf.reduce_min, tf.reduce_max))
    sixth = 1 / (6 * (high - low))
    green_or_blue = tf.where(tf.equal(green, high), (blue - red) * sixth + 2 / 6, (red - green) * sixth + 4 / 6)
    hue = tf.where(tf.equal(red, high), (green - blue) * sixth, green_or_blue)
    hue = tf.where(high > low, hue, tf.zeros_like(hue))
    return tf.where(hue < 0, hue + 1, hue), low, high


def _show_hue(hue: Any) -> Any:
    """The three channels of a hue, each 0 to 1."""
    red, green, blue = tf.abs(hue * 6 - 3) - 1, 2 - tf.abs(hue * 6 - 2), 2 - tf.abs(hue * 6 - 4)
    return tf.clip_by_value(tf.concat([red, green, blue], -1), 0, 1)


def _to_hsv(_: Any, images: Any) -> Any:
    hue, low, high = _split_hue(images)
    return tf.concat([hue, tf.where(high > 0, (high - low) / high, tf.zeros_like(high)), high], -1)


def _from_hsv(_: Any, images: Any) -> Any:
    hue, saturation, value = tf.split(images, 3, -1)
    return (1 - saturation + saturation * _show_hue(hue)) * value


def _hue(_: Any, images: Any, delta: Any) -> Any:
    hue, low, high = _split_hue(images)
    hue += tf.cast(delta, images.dtype)
    return low + (high - low) * _show_hue(hue - tf.floor(hue))


def _saturation(_: Any, images: Any, factor: Any) -> Any:
    hue, saturation, value = tf.split(_to_hsv(_, images), 3, -1)
    saturation = tf.clip_by_value(saturation * tf.cast(factor, images.dtype), 0, 1)
    return _from_hsv(_, tf.concat([hue, saturation, value], -1))


def _bucket(node: Any, x: Any) -> Any:
    limits = tf.constant(list(node.attr["boundaries"].list.f), tf.float64 if x.dtype == tf.float64 else tf.float32)
    return tf.size(limits) - _count(tf.cast(x, limits.dtype)[..., None] < limits, tf.int32)


def _count(values: Any, dtype: Any) -> Any:
    return tf.reduce_sum(tf.cast(values, dtype), -1)


def _lower_bound(node: Any, rows: Any, values: Any) -> Any:
    if not _is_number(rows):
        return None
    return _count(tf.expand_dims(rows, 1) < tf.expand_dims(values, 2), node.attr["out_type"].type)


def _upper_bound(node: Any, rows: Any, values: Any) -> Any:
    """NaN, which is not less than any number, comes after all."""
    if not _is_number(rows):
        return None
    dtype = node.attr["out_type"].type
    below = tf.expand_dims(values, 2) < tf.expand_dims(rows, 1)
    return tf.cast(tf.shape(rows)[1], dtype) - _count(below, dtype)


def _is_number(x: Any) -> bool:
    return bool(x.dtype.is_floating or x.dtype.is_integer)


def _unravel(_: Any, places: Any, sizes: Any) -> Any:
    known = tf.get_static_value(sizes)
    if known is None or places.shape.rank is None:
        return None
    steps = np.cumprod([1, *known[:0:-1]], dtype=known.dtype)[::-1]
    return tf.stack([places // step % size for step, size in zip(steps, known, strict=True)])


def _invert_order(_: Any, x: Any) -> Any:
    count = tf.size(x, x.dtype)
    return tf.scatter_nd(x[:, None], tf.range(count), count[None])


def _norm(node: Any, x: Any, axes: Any) -> Any:
    return tf.sqrt(tf.reduce_sum(x * x, axes, keepdims=node.attr["keep_dims"].b))


_FORMULAS: dict[str, Callable[..., Any]] = {
    "AccumulateNV2": lambda _, *values: tf.add_n(values),
    "Acos": lambda _, x: tf.atan2(tf.sqrt((1 - x) * (1 + x)), x),
    "Acosh": lambda _, x: tf.math.log(x + tf.sqrt((x - 1) * (x + 1))),
    "AdjustContrastv2": _contrast,
    "AdjustHue": _hue,
    "AdjustSaturation": _saturation,
    "Asin": lambda _, x: tf.atan2(x, tf.sqrt((1 - x) * (1 + x))),
    "Asinh": lambda _, x: tf.sign(x) * tf.math.log(tf.abs(x) + tf.sqrt(x * x + 1)),
    "Atan": lambda _, x: tf.atan2(x, tf.ones_like(x)),
    "Atanh": lambda _, x: tf.math.log((1 + x) / (1 - x)) / 2,
    "Bucketize": _bucket,
    "Cosh": lambda _, x: (tf.exp(x) + tf.exp(-x)) / 2,
    "Cross": _cross,
    "Diag": _diag,
    "DiagPart": _diag_part,
    "Erf": _erf,
    "Erfc": lambda _, x: 1 - tf.math.erf(x),
    "EuclideanNorm": _norm,
    "Expm1": _expm1,
    "ExtractImagePatches": _patches,
    "HSVToRGB": _from_hsv,
    "Inv": lambda _, x: 1 / x,
    "Invert": lambda _, x: None if x.dtype.is_unsigned else -1 - x,
    "InvertPermutation": _invert_order,
    "L2Loss": lambda _, x: tf.reduce_sum(x * x) / 2,
    "LinSpace": _line,
    "Log1p": _log1p,
    "LowerBound": _lower_bound,
    **dict.fromkeys(("MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3"), _matrix_diag_part),
    "MatrixSetDiag": lambda _, x, diagonal: tf.linalg.set_diag(x, diagonal),
    "Mod": _remainder,
    "MulNoNan": lambda _, x, y: tf.where(tf.equal(y, 0), tf.zeros([], x.dtype), x * y),
    "ParallelConcat": lambda _, *values: tf.concat(values, 0),
    "RGBToHSV": _to_hsv,
    "Sinh": lambda _, x: (tf.exp(x) - tf.exp(-x)) / 2,
    "Tan": lambda _, x: tf.sin(x) / tf.cos(x),
    "TruncateMod": _remainder,
    "UnravelIndex": _unravel,
    "UpperBound": _upper_bound,
    "Xdivy": lambda _, x, y: tf.where(tf.equal(x, 0), tf.zeros([], x.dtype), x / y),
    "Xlog1py": lambda _, x, y: tf.where(tf.equal(x, 0), tf.zeros([], x.dtype), x * tf.math.log1p(y)),
    "Xlogy": lambda _, x, y: tf.where(tf.equal(x, 0), tf.zeros([], x.dtype), x * tf.math.log(y)),
}
