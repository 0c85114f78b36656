"""Reads the names of nodes: whether an author chose them, whether they speak of an output, whose copy a node is."""

from __future__ import annotations

import re
from typing import Any

from serialization.graph.graph_def import get_node_name

_FUNCTIONS = {  # the names that TensorFlow's functions give to ops of other names
    *("add", "argsort", "batchnorm", "categorical", "checkseqlen", "clipbynorm", "clipbyvalue", "concat", "cond"),
    *("controldependency", "conv1d", "conv2dtranspose", "convertimage", "convtranspose", "depthwise", "dropout"),
    *("einsum", "embeddinglookup", "embeddinglookupsparse", "floordiv", "gather", "inversestft", "l2normalize"),
    *("logsoftmax", "map", "matmul", "moments", "multinomial", "norm", "normalize", "packed", "randomnormal"),
    *("randomuniform", "reducelogsumexp", "relulayer", "repeat", "resize", "reverse", "rgbtograyscale", "saturatecast"),
    *("scalarmul", "scan", "separableconv2d", "sequencelength", "sequencemask", "sort", "split", "stack", "stft"),
    *("sub", "tensordot", "tofloat", "toint32", "toint64", "truediv", "truncatednormal", "unstack", "while", "xwplusb"),
}
_NAMED = re.compile(
    r"(^|[/_])((output|predict|prob|softmax|logits|final_result).*|scores?(_\d+)?$)", re.IGNORECASE | re.DOTALL
)
_OUTPUT = re.compile(r"(final_?)?(outputs?|predictions?|results?)", re.IGNORECASE)
_AUXILIARY = re.compile(r"(^|/)(aux|pooler(/|$))", re.IGNORECASE)
_COPY = re.compile(r"(^|/)(replica|tower|clone|gpu|worker)_?\d+(?=/)", re.IGNORECASE)
_NUMBER = re.compile(r"_\d+(?=/)")


def has_own_name(node: Any) -> bool:
    """Whether the author named the node. TensorFlow's own names are the op's or its function's, with a number."""
    last = re.sub(r"(_\d+)?$", "", node.name.rpartition("/")[2]).replace("_", "").lower()
    return last not in (re.sub(r"V\d$", "", node.op).lower(), node.op.lower()) and last not in _FUNCTIONS


def speaks_of_output(tensor: str) -> bool:
    """Whether the name or a scope in it is one that people give to outputs."""
    return _NAMED.search(get_node_name(tensor)) is not None


def is_called_output(node: str) -> bool:
    """Whether the last part of the name says that this is the output."""
    return _OUTPUT.fullmatch(node.rpartition("/")[2]) is not None


def is_called_auxiliary(tensor: str) -> bool:
    """Whether the name is that of an auxiliary head, which only helps to train, or of BERT's pooler, which few use."""
    return _AUXILIARY.search(tensor) is not None


def strip_copy(tensor: str) -> str:
    """The name without what tells the copies of a network apart: `replica_1/`, `tower_0/`, the numbers of scopes."""
    return _NUMBER.sub("", _COPY.sub("", get_node_name(tensor))).removeprefix("/")
