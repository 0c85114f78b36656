"""Takes the parameters out of a graph whose variables are constants, or of a SavedModel's, for a checkpoint of them."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, print_table
from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.dtypes import get_base_dtype
from serialization.graph.const_nodes import make_constant, read_array
from serialization.graph.graph_def import copy_without, get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import VARIABLES
from serialization.graph.parameters import Parameter, find_parameters, may_be_trained
from serialization.graph.repair import remove_lost_locations
from serialization.graph.signature import Signature
from serialization.sources.frozen_reader import put_back_constants, read_constant
from serialization.targets.to_frozen import flatten_graph, read_session_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serialization.run.origin import Origin
    from serialization.sources.from_frozen import PreparedFrozenModel


@dataclass(frozen=True)
class Unfrozen:
    """A graph without its parameters, whose values the graph takes from outside, and the parameters.

    `rest` is the GraphDef, `signature` its inputs and outputs by its names, `initializers` the ops that fill its
    tables. `read` returns values of a parameter as an array of one axis: so many from a first one on.
    """

    rest: Any
    parameters: tuple[Parameter, ...]
    read: Callable[[Parameter, int, int], NDArray[Any]]
    signature: Signature
    initializers: tuple[str, ...] = ()

    @cached_property
    def names(self) -> set[str]:
        return {node.name for node in self.rest.node}


def list_prefixes(parser: argparse.ArgumentParser, out: Path, *, objects: bool = False) -> list[Path]:
    """The prefix that --out names, and with `objects` that of a second checkpoint, an object-based one.

    Ends with status 2 for a folder.
    """
    if out.is_dir():
        parser.error(f"--out {out} is a folder; a prefix in it would be {out}/model.ckpt")
    return [out, out.with_name(f"{out.stem}-object{out.suffix}")] if objects else [out]


def print_unfrozen(files: Sequence[tuple[str, str]], unfrozen: Unfrozen, proof: Sequence[str]) -> None:
    """Print the files with their sizes, how many variables they hold, and the proof."""
    print_table(("file", "size"), files)
    trained = {one.name: one.trainable for one in unfrozen.parameters}
    print(f"{format_count(len(trained), 'variable')}, {sum(trained.values()):,} trainable")
    print("\n".join(proof))


def take_out_constants(ready: PreparedFrozenModel) -> Unfrozen:
    """The frozen model without the constants that were variables; the values stay where they are until they are read.

    The other constants that were left in a large file are put back into the graph.
    """
    whole = protos.GraphDef()
    whole.CopyFrom(ready.graph_def)
    put_back_constants(whole, ready.constants)
    index = GraphIndex(whole)
    parameters = tuple(find_parameters(index, ready.signature))
    if not parameters:
        count = format_count(sum(node.op == "Const" for node in whole.node), "constant")
        raise UserError(
            f"the frozen model has no parameters; of its {count} none is a weight, a bias or a statistic; "
            "there is nothing to train or to restore, so use it as it is"
        )
    taken = {parameter.node for parameter in parameters}
    for name in ready.constants.keys() - taken:
        constant = ready.constants[name]
        value = read_constant(constant).reshape(constant.shape)
        index.nodes[name].CopyFrom(make_constant(name, value, constant.dtype))

    def read(parameter: Parameter, first: int, count: int) -> NDArray[Any]:
        if parameter.node in ready.constants:
            return read_constant(ready.constants[parameter.node], first, count)
        return read_array(index.nodes[parameter.node]).reshape(-1)[first : first + count]

    return Unfrozen(_leave_out(whole, taken), parameters, read, ready.signature, ready.initializers)


def take_out_variables(origin: Origin, known: Mapping[str, tuple[str, bool]]) -> tuple[Unfrozen, list[str]]:
    """The loaded SavedModel without functions and without its variables, and notes on repairs.

    `known` are the names of the variables, and whether they are trained, by their nodes' names. Raises UserError for a
    graph that cannot be frozen, and for a variable without a value.
    """
    flat, signature, notes = flatten_graph(origin.index, origin.signature, origin.session)
    index = GraphIndex(flat)
    nodes = {node.name: node for node in flat.node if node.op in VARIABLES}
    if not nodes:
        raise UserError(
            "the SavedModel has no variables that its outputs need; if constants hold its weights, freeze it with "
            "freezemodel_save.py, and make them variables again with checkpoint_from_frozen.py"
        )
    values = read_session_values(origin.session, flat)

    @lru_cache(maxsize=1)  # a large one is read in slices
    def fetch(name: str) -> NDArray[Any]:
        return values(nodes[name])

    def read(parameter: Parameter, first: int, count: int) -> NDArray[Any]:
        return fetch(parameter.node).reshape(-1)[first : first + count]

    if fetched := nodes.keys() & {get_node_name(tensor.name) for tensor in signature.outputs}:
        raise UserError(f"the output {min(fetched)} is a variable itself; name other --outputs")
    parameters = []
    for name, node in nodes.items():
        if not index.consumers(name):  # other ops only wait for it
            continue
        shape = node.attr["shape"].shape
        sizes = tuple(int(dim.size) for dim in shape.dim)
        if shape.unknown_rank or min(sizes, default=0) < 0:
            sizes = fetch(name).shape
        dtype = get_base_dtype(node.attr["dtype"].type)
        own = node.attr["shared_name"].s.decode(errors="replace") or name
        called, trainable = known.get(name) or (own, may_be_trained(own, dtype))
        parameters.append(Parameter(name, called, dtype, sizes, trainable))
    return Unfrozen(_leave_out(flat, nodes), tuple(parameters), read, signature), notes


def reserve_names(graph: Any, unfrozen: Unfrozen) -> None:
    """Have no op that is made in the tf.Graph from now on take the name of a node, which is imported later."""
    for node in unfrozen.rest.node:
        graph.unique_name(node.name)


def name_in_graph(parameter: Parameter, unfrozen: Unfrozen) -> str:
    """The name for the variable of a parameter in the graph: its own, unless it cannot have that.

    It cannot where an op has the name of its scope: TensorFlow would rename that op when it imports it beside the
    variable.
    """
    plain = re.sub(r"[^\w.\\/>-]", "_", parameter.name, flags=re.ASCII)
    scopes = itertools.accumulate(plain.split("/")[:-1], "{}/{}".format)
    free = unfrozen.names.isdisjoint(scopes) and re.match(r"[A-Za-z0-9.]", plain)
    return plain if free else f"variables/{plain}"


def _leave_out(graph_def: Any, names: Collection[str]) -> Any:
    """A copy of the GraphDef without these nodes, which others still take values from."""
    rest = copy_without(graph_def, names)
    remove_lost_locations(rest)
    return rest
