"""Ops that TensorFlow lacks are said to be of the library that registers them, which may exist no more."""

from __future__ import annotations

import pytest

from serialization.graph.known_ops import load_known_ops
from serialization.graph.op_libraries import CHECKED_FOR, UNKNOWN, advise_on_libraries, guess_op_library
from serialization.tensorflow import find_tensorflow_version


@pytest.mark.parametrize(
    ("library", "ops"),
    [
        (
            "DeePMD-kit",
            "DescrptSeA DescrptNorot Descrpt EwaldRecp GeluGradGrad ProdEnvMatAMix TabulateFusionSeA TabInter",
        ),
        (
            "DeePMD-kit",
            "MapFltNvnmd MatmulFitnetNvnmd DprcPairwiseIdx ParallelProdForceSeA UnaggregatedDyDxS SoftMinForce",
        ),
        ("tf.contrib", "BucketizeWithInputBoundaries SparseFeatureCross TreePredictionsV4 KMC2ChainInitialization Rpc"),
        (
            "tf.contrib",
            "DecodeAudio BipartiteMatch StatsAccumulatorScalarAdd QuantileAccumulatorAddSummaries MaskedMatmul",
        ),
        ("tensorflow-text", "SentencepieceTokenizeOp TFText>FastWordpieceTokenizeWithOffsets RegexSplitWithOffsets"),
        ("tensorflow-addons", "Addons>Resampler"),
        ("boosted trees", "BoostedTreesOfAnotherKind"),
        (UNKNOWN, "HouseTwice ZeroOut"),
    ],
)
def test_an_op_is_of_the_library_that_registers_it(library: str, ops: str) -> None:
    for op in ops.split():
        assert library in guess_op_library(op), op


def test_no_library_is_said_to_hold_what_tensorflow_registers_itself() -> None:
    assert not {"Rpc", "EwaldRecp", "SparseFeatureCross", "DecodeAudio"} & set(load_known_ops())


def test_a_library_is_advised_only_where_there_may_be_one() -> None:
    assert advise_on_libraries(["ProdForceSeA", "HouseTwice"]) == "load their library with --op-library FILE.so"
    assert advise_on_libraries(["ProdForceSeA", "SparseFeatureCross"]) == (
        "there is no build of tf.contrib of TensorFlow 1.x for this TensorFlow; cut the graph around these ops with "
        "--inputs and --outputs, or run it with the TensorFlow that it was made for"
    )


def test_the_builds_were_looked_up_for_this_tensorflow() -> None:
    """CONTRIBUTING.md, under "Take a newer TensorFlow", says how to do it again."""
    assert (find_tensorflow_version() or "").startswith(f"{CHECKED_FOR}.")
