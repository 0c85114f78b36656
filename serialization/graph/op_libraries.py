"""The libraries that register ops which TensorFlow lacks, guessed from the ops' names.

A library registers its ops when TensorFlow loads it, and is built for one version of TensorFlow. Some have a build for
this one, or can be built for it; others ended with an older TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

UNKNOWN = "of an unknown library"
# The TensorFlow that the two lists below are right for. Nothing on this machine tells which builds there are elsewhere:
# CONTRIBUTING.md says how to look, and tests/graph/test_op_libraries.py fails when TensorFlow is a newer one.
CHECKED_FOR = "2.21"

# By the ops' names; the first match wins.
_LIBRARIES = {
    "tensorflow-text": r"TFText>.*|.*Wordpiece.*|Sentencepiece.*|.*UnicodeScript.*|Rouge.*|CaseFoldUTF8|"
    r"NormalizeUTF8.*|.*SplitMerge.*|RegexSplitWith.*|.*SentenceBreak.*|ConstrainedSequence|.*Tokenize.*",
    "DeePMD-kit (libdeepmd_op.so)": r"Prod(EnvMat|Force|Virial).*|Descrpt.*|Tabulate.*|TabInter|PairTab|NeighborStat|"
    r"SoftMin.*|MapAparam|UnaggregatedD[yx].*|ParallelProd.*|Quantize[NV].*|MatmulF.*|.*Fitting.*NvnmdOp|.*Nvnmd.*|"
    r"EwaldRecp|Gelu(Grad)*(Custom)?|Dprc.*|ConvertForwardMap|EnvMatStat|DotmulF.*",
    "warp-ctc or warp-transducer": r"Rnnt.*|WarpCtc|WarpCTC",
    "a Faster R-CNN project's own roi_pooling.so": r"RoiPool.*|RoiAlign.*|RoIPool.*|PSROI.*",
}
# Their last builds were for older versions of TensorFlow: 2.15, 2.19, 2.16 and 2.17 for the first four.
_ENDED = {
    "tensorflow-addons": r"Addons>.*|.*EuclideanDistanceTransform.*",
    "tensorflow_decision_forests": r"SimpleML.*|DecisionForest.*",
    "tensorflow-io": r"IO>.*|Arrow.*|Kafka.*|AudioReadable.*|.*BigQuery.*",
    "tensorflow-compression": r"Entropy(En|De)code.*|Range(En|De)code.*|CreateRange.*|"
    r"UnboundedIndex.*|PmfToQuantizedCdf|RunLength.*Code",
    "a TensorFlow built with TensorRT": r"TRTEngineOp.*|CreateTRT.*|GetCalibrationData.*",
    "TensorFlow up to 2.15, which had boosted trees": r"BoostedTrees.*",
    "horovod": r"Horovod.*",
    "blocksparse": r".*BlockSparse.*|Blocksparse.*",
    "DeepSpeech's native_client": r"CTCBeamSearchDecoderWithLM|CTCBeamSearchDecoderTrie",
    "tf.contrib of TensorFlow 1.x": r"Resampler.*|SkipGramGenerateCandidates|KmeansPlusPlus.*|KMC2.*|NearestNeighbors|"
    r"Hyperplane.*|WALS.*|MaskedMatmul|GatherTree|(Max)?Bytes(InUse|Limit)|SparseFeatureCross.*|BucketizeWithInput.*|"
    r"ImageConnectedComponents|ImageProjectiveTransform|SingleImageRandomDot.*|BipartiteMatch|AdjustHsvInYiq|"
    r".*Forest.*|.*Tree.*|.*FertileStats.*|.*Quantile(s|Acc|Buckets|Stream).*|StatsAccumulator.*|Build(Dense|Sparse|"
    r"Categorical).*Splits|GradientTrees.*|FeatureUsageCounts|ReinterpretStringToFloat|ScatterAddNdim|.*Routing.*|"
    r"KFeature.*|UnpackPath|ZeroInitializer.*|ZeroVarInitializer|PeriodicResample.*|.*Bytestring.*|FactParallel.*|"
    r"SdcaSolver|Reduce.*Slice.*|ReduceSlice.*|BlockLSTM.*|.*VariantsV\d|DecodeLibsvm.*|(De|En)code(Audio|Video).*|"
    r"ObtainNext|MPI(All|Init|Rank|Size|Local).*|Bigtable.*|Kinesis.*|Ignite.*|SequenceFile.*|Gcs.*|(Try)?Rpc|"
    r"FusedConv2DBiasActivation|FunctionBufferingResource.*|IteratorGetDevice|TPU(Infeed|Outfeed)Dequeue.*Layout",
}


def guess_op_library(op: str) -> str:
    """The library that registers an op, guessed from the op's name."""
    found = (name for name, pattern in (_LIBRARIES | _ENDED).items() if re.fullmatch(pattern, op))
    return next(found, UNKNOWN)


def advise_on_libraries(ops: Iterable[str]) -> str:
    """The next step for a user whose graph has ops that TensorFlow does not know."""
    libraries = dict.fromkeys(map(guess_op_library, ops))
    ended = [name for name in libraries if name in _ENDED]
    if not ended:
        return "load their library with --op-library FILE.so"
    return (
        f"there is no build of {' or '.join(ended)} for this TensorFlow; cut the graph around these ops with --inputs "
        "and --outputs, or run it with the TensorFlow that it was made for"
    )
