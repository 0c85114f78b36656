"""Each formula gives what TensorFlow's own op gives, at special numbers too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serialization.graph.spelled_out_ops import _FORMULAS, spell_out
from serialization.tensorflow import np, tf, tf1

RAW = tf.raw_ops
RANDOM = np.random.default_rng(0)
NUMBERS = np.array([0, -0.0, 1, -1, 1e-9, -1e-9, 1e-4, 0.5, -0.5, 0.999, 3, -3, 20, -20, 100, -100, np.nan], np.float32)
INFINITE = np.array([np.inf, -np.inf], np.float32)
ROWS, COLUMNS = np.meshgrid(np.concatenate([NUMBERS, INFINITE]), np.concatenate([NUMBERS, INFINITE]))
CUBE = RANDOM.standard_normal((2, 3, 4)).astype(np.float32)
IMAGES = RANDOM.standard_normal((2, 6, 7, 3)).astype(np.float32)
PIXELS = np.concatenate([IMAGES, np.abs(IMAGES), IMAGES.clip(0, 1), np.zeros_like(IMAGES), -np.ones_like(IMAGES)])
SORTED = np.sort(RANDOM.integers(-3, 4, (2, 9)), 1).astype(np.float32)
SOUGHT = np.concatenate([SORTED, SORTED + 0.5, np.full_like(SORTED, np.nan)], 1)
WHOLE = np.array([[-7, 7, 5, -5, 0]], np.int32), np.array([[3], [-3], [4]], np.int32)
ONE = "Acos Acosh Asin Asinh Atan Atanh Cosh Erf Erfc Expm1 Inv Log1p Sinh Tan".split()  # noqa: SIM905
TWO = ("MulNoNan", "Xdivy", "Xlog1py", "Xlogy")

Case = tuple[Callable[..., Any], tuple[Any, ...]]
CASES: dict[str, Case] = {
    **{op: (lambda x, op=op: getattr(RAW, op)(x=x), (np.concatenate([NUMBERS, INFINITE]),)) for op in ONE},
    **{op: (lambda x, y, op=op: getattr(RAW, op)(x=x, y=y), (ROWS, COLUMNS)) for op in TWO},
    **{op: (lambda x, y, op=op: getattr(RAW, op)(x=x, y=y), WHOLE) for op in ("Mod", "TruncateMod")},
    "AccumulateNV2": (lambda x, y: RAW.AccumulateNV2(inputs=[x, y], shape=[2, 3, 4]), (CUBE, CUBE)),
    "AdjustContrastv2": (lambda x: RAW.AdjustContrastv2(images=x, contrast_factor=2.0), (IMAGES,)),
    "AdjustHue": (lambda x: RAW.AdjustHue(images=x, delta=-0.3), (PIXELS,)),
    "AdjustSaturation": (lambda x: RAW.AdjustSaturation(images=x, scale=1.5), (PIXELS,)),
    "Bucketize": (lambda x: RAW.Bucketize(input=x, boundaries=[-1.0, 0.0, 0.5, 3.0]), (ROWS,)),
    "Cross": (lambda x, y: RAW.Cross(a=x, b=y), (IMAGES, IMAGES[::-1])),
    "Diag": (lambda x: RAW.Diag(diagonal=x), (CUBE[0],)),
    "DiagPart": (lambda x: RAW.DiagPart(input=x), (RANDOM.standard_normal((2, 3, 2, 3)).astype(np.float32),)),
    "EuclideanNorm": (lambda x: RAW.EuclideanNorm(input=x, axis=[1], keep_dims=True), (CUBE,)),
    "ExtractImagePatches": (
        lambda x: tf.image.extract_patches(
            tf.ensure_shape(x, [None, None, None, 3]), [1, 2, 3, 1], [1, 2, 1, 1], [1, 1, 2, 1], "SAME"
        ),
        (IMAGES,),
    ),
    "HSVToRGB": (lambda x: RAW.HSVToRGB(images=x), (PIXELS,)),
    "Invert": (lambda x: RAW.Invert(x=x), WHOLE[:1]),
    "InvertPermutation": (lambda x: RAW.InvertPermutation(x=x), (np.array([2, 0, 3, 1, 4], np.int32),)),
    "L2Loss": (tf.nn.l2_loss, (CUBE,)),
    "LinSpace": (lambda x: RAW.LinSpace(start=x[0, 0, 0], stop=x[0, 0, 1], num=5), (CUBE,)),
    "LowerBound": (
        lambda x, y: RAW.LowerBound(sorted_inputs=x, values=y),
        (SORTED, SOUGHT),
    ),
    "MatrixDiagPart": (lambda x: RAW.MatrixDiagPart(input=x), (CUBE,)),
    "MatrixDiagPartV2": (lambda x: RAW.MatrixDiagPartV2(input=x, k=0, padding_value=0.0), (CUBE,)),
    "MatrixDiagPartV3": (tf.linalg.diag_part, (CUBE.transpose(0, 2, 1),)),
    "MatrixSetDiag": (lambda x, y: RAW.MatrixSetDiag(input=x, diagonal=y), (CUBE, CUBE[:, :, 0])),
    "ParallelConcat": (lambda x: RAW.ParallelConcat(values=[x, -x], shape=[2, 3, 4]), (CUBE[:1],)),
    "RGBToHSV": (lambda x: RAW.RGBToHSV(images=x), (PIXELS,)),
    "UnravelIndex": (lambda x: tf.unravel_index(x, [3, 2, 4]), (np.array([0, 5, 23, 8], np.int32),)),
    "UpperBound": (lambda x, y: RAW.UpperBound(sorted_inputs=x, values=y), (SORTED, SOUGHT)),
}


def build(case: Case) -> tuple[Any, dict[str, Any]]:
    """The GraphDef of a case, whose tensor `y` is the answer, and the feeds."""
    call, values = case
    with tf1.Graph().as_default() as graph:
        shapes = [value.shape if len(value) == 1 else [None] * value.ndim for value in values]
        given = [
            tf1.placeholder(value.dtype, shape, f"x{place}")
            for place, (value, shape) in enumerate(zip(values, shapes, strict=True))
        ]
        tf.identity(call(*given), name="y")
    return graph.as_graph_def(), {f"x{place}:0": value for place, value in enumerate(values)}


def evaluate(graph_def: Any, feeds: dict[str, Any]) -> Any:
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        tf1.import_graph_def(graph_def, name="")
        return session.run("y:0", feeds)


@pytest.mark.parametrize("op", _FORMULAS)
def test_a_formula_gives_what_the_op_gives(op: str) -> None:
    graph_def, feeds = build(CASES[op])
    expected = evaluate(graph_def, feeds)
    lines = spell_out(graph_def, _FORMULAS.keys())
    assert lines[0] == f"spelled out 1 {op} op, which the format lacks"
    assert not {node.op for node in graph_def.node} & _FORMULAS.keys()
    got = evaluate(graph_def, feeds)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=5e-7)


def test_an_op_without_the_rank_that_its_formula_needs_is_left() -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, None)
        RAW.Cross(a=x, b=x)
        RAW.MatrixDiagPartV2(input=tf1.placeholder(tf.float32, [3, 3]), k=1, padding_value=0.0)
    graph_def = graph.as_graph_def()
    before = graph_def.SerializeToString(deterministic=True)
    assert spell_out(graph_def, _FORMULAS.keys()) == []
    assert graph_def.SerializeToString(deterministic=True) == before


def test_float64_alone_is_computed_in_float32() -> None:
    for dtype, lines in {"float32": [], "float64": ["computed 1 Tan op in float32, as the runtime has it"]}.items():
        graph_def, feeds = build((tf.tan, (np.array([1.0, 2.0], dtype),)))
        assert spell_out(graph_def, (), ("Tan",)) == lines
        got = evaluate(graph_def, feeds)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, np.tan([1.0, 2.0]), rtol=1e-6)
