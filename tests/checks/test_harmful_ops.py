"""No op of TensorFlow's registry that reaches beyond the process is forgotten in the list; each is found."""

from __future__ import annotations

import re
from typing import Any

import pytest
from handmade_graphs import X, graph, scan

from serialization.checks.harmful_ops import EFFECTS, FILE_INPUTS
from serialization.formats import dtypes, protos
from serialization.graph.known_ops import load_known_ops
from serialization.tensorflow import import_quietly

# What the name of an op has in it that may reach beyond the process, and that of an attribute or input of strings.
OP = re.compile(
    r"File|Reader|Write|Save|Restore|Snapshot|Rpc|Service|Debug|Dump|Py[A-Z]|Remote|Custom|Host|Server|Client|Socket|"
    r"Http|Load|LMDB|Sql|Record|CSV|Checkpoint|Execute|Compile|Process|Abort|FromGraph|Deserialize|Heartbeat|Mlir|"
    r"Import|Xla(Call|Launch)|Copy|Session|Distributed|Network|Cache"
)
ARGUMENT = re.compile(
    r"file|path|dir\b|logdir|prefix|address|url|host|uri|stream|source|vocab|region|debug|basename|network|topology|"
    r"request|module|config_proto"
)
# The ops that only look so, by the reason why they do no harm.
HARMLESS = {
    "takes a reader or summary writer, and the ops that open one are listed": (
        r"(Experimental|SetStats|StatsAggregatorSet)\w*(Dataset|SummaryWriter)|(Close|Flush)SummaryWriter|SummaryWriter|"
        r"Write\w*Summary|ImportEvent|Reader\w+|IdentityReader(V2)?"
    ),
    "keeps its values in memory": (
        r"(Anonymous|Delete|Dummy)MemoryCache|LookupTableImport(V2)?|\w*SessionHandle(V2)?|\w*SessionTensor|"
        r"TensorArray(Grad|Write)\w*|VarHandleOp|_XlaAotOnlyVarHandleOp|DisableCopyOnRead|HostConst"
    ),
    "copies or computes tensors": (
        r"CopyOp|CopyToMesh(Grad)?|DeepCopy|Snapshot|_CopyFrom\w+|_HostCast|Debug(Gradient\w*|NumericSummaryV2)|"
        r"CustomAggregator|XlaSparseDenseMatmulCustomCombiner\w+"
    ),
    "parses bytes that it is given": r"Parse\w*SequenceExample\w*|DecodeCSV|Deserialize\w*Sparse|BoostedTrees\w+",
    "needs the handle of a call that is listed": r"RpcCheckStatus|RpcGetValue|DeleteRpcFutureResource",
    "calls functions of the graph, which are scanned": r"XlaLaunch(V2)?|(Stateful)?PartitionedCall|BatchFunction",
    "makes a name, and opens nothing": r"ShardedFile(name|spec)",
    "exchanges tensors within the process": r"_?Xla(Recv|Send)\w+|_Host(Recv|Send)",
    "has no kernel without a TPU": (
        r"\w*DistributedTPU\w*|\w*TPUEmbedding\w*|_?TPU\w+|ComputeDedupData\w+|DTensorSetGlobalTPUArray|_SetGlobalTPUArray|"
        r"_XlaCompile\w*"
    ),
}


def list_ops() -> list[Any]:
    """TensorFlow's own ops; other tests register further ones in this process."""
    pywrap_tf_session = import_quietly("tensorflow.python.client.pywrap_tf_session")
    registered = protos.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())).op
    return [op for op in registered if op.name in load_known_ops()]


def looks_harmful(op: Any) -> bool:
    strings = [attribute.name for attribute in op.attr if "string" in attribute.type]
    strings += [argument.name for argument in op.input_arg if argument.type == dtypes.STRING]
    return bool(OP.search(op.name) or any(map(ARGUMENT.search, strings)))


def test_each_op_that_looks_harmful_is_listed_or_has_a_reason() -> None:
    suspects = {op.name for op in list_ops() if looks_harmful(op)} - set(EFFECTS)
    explained = {name for name in suspects if any(re.fullmatch(names, name) for names in HARMLESS.values())}
    assert suspects - explained == set(), "list it in harmful_ops.py, or say here why it does no harm"
    unused = [why for why, names in HARMLESS.items() if not any(re.fullmatch(names, name) for name in suspects)]
    assert unused == []


def test_most_listed_ops_look_harmful() -> None:
    """So that a change of the patterns above which finds nothing is seen."""
    looking = {op.name for op in list_ops() if looks_harmful(op)}
    assert len(looking & set(EFFECTS)) > 0.9 * len(EFFECTS)


def test_every_op_of_the_table_is_registered() -> None:
    elsewhere = {"TRTEngineOp", "LMDBReader", "ExperimentalSqlDataset"}  # registered in other builds of TensorFlow
    assert set(EFFECTS) - set(load_known_ops()) <= elsewhere
    assert set(FILE_INPUTS) <= set(EFFECTS)


def test_the_filename_is_the_input_that_the_table_says() -> None:
    for op in list_ops():
        if op.name in FILE_INPUTS:
            argument = op.input_arg[FILE_INPUTS[op.name]]
            assert re.search("file|prefix", argument.name), op.name
            assert argument.type == dtypes.STRING


@pytest.mark.parametrize("op", sorted({"PrintV2", *EFFECTS} - {"XlaCallModule", "FixedUnigramCandidateSampler"}))
def test_each_op_is_found_if_an_output_needs_it(op: str) -> None:
    graph_def = graph(X, ("bad", op, ["x", "x"]), ("y", "Identity", ["x", "^bad"]))
    node = graph_def.node[1]
    if op == "PrintV2":
        node.attr["output_stream"].s = b"file:///tmp/x"
    node.attr["debug_urls"].list.s.append(b"file:///tmp/x")
    node.attr["descriptor_source"].s = b"/etc/passwd"
    found = scan(graph_def, ["y"])
    assert [(f.effect, f.op, f.node) for f in found] == [(EFFECTS[op], op, "bad")]
    assert scan(graph_def, ["x"]) == []
