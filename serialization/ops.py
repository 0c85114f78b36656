"""Which ops this TensorFlow knows, and which library is known to register those that it does not."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from serialization import cli
from serialization.graph import all_nodes
from serialization.tensorflow import tf

# By the ops' names; first match wins.
_LIBRARIES = (
    (r"Addons>.*|.*EuclideanDistanceTransform.*", "tensorflow-addons"),
    (
        r"TFText>.*|.*Wordpiece.*|Sentencepiece.*|.*UnicodeScript.*|Rouge.*|CaseFoldUTF8|NormalizeUTF8.*|.*SplitMerge.*|"
        r".*SentenceBreak.*|ConstrainedSequence|.*Tokenize.*",
        "tensorflow-text",
    ),
    (r"SimpleML.*|DecisionForest.*", "tensorflow_decision_forests"),
    (r"IO>.*|Arrow.*|Kafka.*|AudioReadable.*|.*BigQuery.*", "tensorflow-io"),
    (r"TRTEngineOp.*|CreateTRT.*|GetCalibrationData.*", "a TensorFlow built with TensorRT"),
    (r"BoostedTrees.*", "TensorFlow up to 2.15, which had boosted trees"),
    (
        r"ProdEnv.*|ProdForce.*|ProdVirial.*|DescrptS.*|Tabulate.*|PairTab|NeighborStat|SoftMin.*|MapAparam|"
        r"UnaggregatedDy.*|ParallelProd.*|Quantize[NV].*|MatmulFlt.*|.*Fitting.*NvnmdOp|.*Nvnmd",
        "DeePMD-kit (libdeepmd_op.so)",
    ),
    (
        r"EntropyEncode.*|EntropyDecode.*|RangeDecode.*|RangeEncode.*|CreateRange.*|UnboundedIndex.*|PmfToQuantizedCdf|"
        r"RunLength.*Code",
        "tensorflow-compression",
    ),
    (r"Rnnt.*|WarpCtc|WarpCTC", "warp-ctc or warp-transducer"),
    (
        r"Resampler.*|SkipGramGenerateCandidates|KmeansPlusPlus.*|NearestNeighbors|GatherTree|BytesInUse|BytesLimit|"
        r"ImageConnectedComponents|ImageProjectiveTransform|.*Forest.*|.*Tree.*|MaxBytesInUse|ZeroInitializer.*|"
        r"PeriodicResample.*|.*Bytestring.*|FactParallel.*|AdjustHsvInYiq|SdcaSolver|Reduce.*Slice.*|BlockLSTM.*|.*VariantsV\d",
        "tf.contrib of TensorFlow 1.x",
    ),
    (r"Horovod.*", "horovod"),
    (r".*BlockSparse.*|Blocksparse.*", "blocksparse"),
    (r"CTCBeamSearchDecoderWithLM|CTCBeamSearchDecoderTrie", "DeepSpeech's native_client"),
    (r"RoiPool.*|RoiAlign.*|RoIPool.*|PSROI.*", "a Faster R-CNN project's own roi_pooling.so"),
)


def load_library(path: Path | None) -> None:
    """Register the ops of a shared library (`--op-library`). Loading it runs its code."""
    if path is None:
        return
    if not path.is_file():
        raise cli.Error(f"no library at {cli.show(path)}; --op-library takes the .so file that registers the ops")
    try:
        tf.load_op_library(str(path.resolve()))
    except (tf.errors.OpError, OSError) as error:
        raise cli.Error(
            f"{cli.show(path)} cannot be loaded: {cli.one_line(error)}; was it built for this TensorFlow?"
        ) from None


def require_known(graph_def: Any, what: str) -> None:
    """Raise cli.Error that lists every op of the graph which this TensorFlow does not know, with its library."""
    known = registered()
    functions = {function.signature.name for function in graph_def.library.function}
    unknown: dict[str, list[str]] = defaultdict(list)
    for node in all_nodes(graph_def):
        if node.op not in functions and known.get(node.op) is None:
            unknown[node.op].append(node.name)
    if unknown:
        listed = ", ".join(f"{op} ({library_of(op)}; {_count(names)})" for op, names in sorted(unknown.items()))
        raise cli.Error(
            f"{what} needs ops that TensorFlow {tf.__version__} does not know: {listed}; "
            "load their library with --op-library FILE.so"
        )


def library_of(op: str) -> str:
    """The library that is known to register an op."""
    return next((library for pattern, library in _LIBRARIES if re.fullmatch(pattern, op)), "of an unknown library")


def output_dtype(node: Any, index: int) -> int:
    """The dtype number of a node's output, from the op's definition and the node's attributes; 0 if they do not say."""
    types = _output_types(node)
    return types[index] if types is not None and index < len(types) else 0


def output_count(node: Any) -> int:
    """How many outputs a node has; for an unknown op as many as anybody may name."""
    types = _output_types(node)
    return 1000 if types is None else len(types)


def registered() -> Any:
    """TensorFlow's op definitions by name. The public tf.raw_ops leaves out ops that have no Python wrapper."""
    tf.__version__  # noqa: B018 - imported quietly before what follows imports it
    from tensorflow.python.framework import op_def_registry

    return op_def_registry


def _output_types(node: Any) -> list[int] | None:
    definition = registered().get(node.op)
    if definition is None:
        return None
    types: list[int] = []
    for argument in definition.output_arg:
        if argument.type_list_attr:
            types += [int(number) for number in node.attr[argument.type_list_attr].list.type]
        else:
            count = int(node.attr[argument.number_attr].i) if argument.number_attr else 1
            types += [int(argument.type or _type_of(definition, node, argument.type_attr))] * count
    return types


def _type_of(definition: Any, node: Any, name: str) -> int:
    if name in node.attr:
        return int(node.attr[name].type)
    return next((int(attr.default_value.type) for attr in definition.attr if attr.name == name), 0)


def _count(names: Iterable[str]) -> str:
    first, *rest = names
    return f"node {first}" if not rest else f"node {first} and {len(rest)} more"
