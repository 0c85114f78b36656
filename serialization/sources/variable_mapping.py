"""Maps each variable of a graph to its key in a checkpoint, and compares shapes and dtypes before anything is restored.

The mapping is read from the graph's own restore ops, which record renamed variables and slices of partitioned ones.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serialization.console import format_count, make_printable
from serialization.errors import UserError
from serialization.formats.checkpoint_values import is_slice_spec
from serialization.formats.dtypes import get_base_dtype, get_dtype_name
from serialization.graph.const_nodes import read_strings
from serialization.graph.graph_def import get_output_index
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import ASSIGNMENTS, IDENTITIES, RESTORE_OPS, VARIABLES
from serialization.graph.signature import show_shape

AVERAGE = "/ExponentialMovingAverage"
_LISTED = 10


@dataclass(frozen=True)
class Restore:
    """The variable of the node `node` is restored from the checkpoint's value at `key`.

    `spec` is the shape and the slice of a partitioned variable as RestoreV2 takes it ("10 4 0,5:-"), else empty.
    `shape` is None if the graph does not record it. `saved` says whether the graph's own Saver restores it.
    """

    node: str
    key: str
    spec: str
    dtype: int
    shape: tuple[int, ...] | None
    saved: bool = True


def map_variables(index: GraphIndex, saver_def: Any = None) -> dict[str, Restore]:
    """The Restore of each variable of a graph, by its node's name, from the restore ops of the graph.

    Of several Savers the one in `saver_def` decides. A variable that no Saver restores has its own name as its key.
    """
    recorded = saver_def.restore_op_name if saver_def is not None else ""
    ours = index.reachable([recorded] if recorded else [])
    found: dict[str, tuple[str, str, bool]] = {}
    for node in index.graph_def.node:
        if node.op in ASSIGNMENTS and len(node.input) > 1:
            origin = _restored_from(index, node.input[1])
            variable = index.producer(index.trace_back(node.input[0], IDENTITIES))
            if origin is None or variable is None or variable.op not in VARIABLES:
                continue
            if node.name in ours or variable.name not in found:
                found[variable.name] = (*origin, node.name in ours or not ours)
    result = {}
    for node in index.graph_def.node:
        if node.op in VARIABLES:
            shared = node.attr["shared_name"].s.decode(errors="replace") if node.op == "VarHandleOp" else ""
            key, spec, saved = found.get(node.name, (shared or node.name, "", not found))
            shape = node.attr["shape"].shape
            known = not shape.unknown_rank and all(dim.size >= 0 for dim in shape.dim)
            sizes = tuple(int(dim.size) for dim in shape.dim) if known else None
            dtype = get_base_dtype(node.attr["dtype"].type)
            result[node.name] = Restore(node.name, key, spec, dtype, sizes or _unless_old(node, sizes), saved)
    return result


def rename_keys(
    restores: Mapping[str, Restore], renames: Sequence[tuple[str, str]], known: Iterable[str]
) -> dict[str, Restore]:
    """Apply `--rename OLD=NEW`: the graph's variable or scope NEW is OLD in the checkpoint."""
    result, held = dict(restores), set(known)
    for old, new in renames:
        moved = {name: move_name(restore.key, new, old) for name, restore in restores.items()}
        hits = {name: key for name, key in moved.items() if key is not None}
        result |= {name: replace(restores[name], key=key) for name, key in hits.items()}
        if not hits:
            raise UserError(f"--rename {old}={new}: the graph has no variable {new}{name_nearest(new, restores)}")
        if all(move_name(key, old, new) is None for key in held):
            raise UserError(f"--rename {old}={new}: the checkpoint holds no {old}{name_nearest(old, held)}")
    return result


def move_name(name: str, old: str, new: str) -> str | None:
    """What a variable is called where `old`, a variable or a scope, is called `new`; None if `old` is another one.

    An empty `old` is the scope of all variables; with an empty `new`, the scope `old` is left out of their names.
    """
    if name == old and new:
        return new
    old_scope, new_scope = (scope.rstrip("/") + "/" if scope else "" for scope in (old, new))
    return new_scope + name.removeprefix(old_scope) if name.startswith(old_scope) and name != old_scope else None


def take_averages(restores: Mapping[str, Restore], known: Iterable[str]) -> dict[str, Restore]:
    """The same variables, each restored from its moving average if the checkpoint holds one."""
    held = set(known)
    return {n: replace(r, key=r.key + AVERAGE) if r.key + AVERAGE in held else r for n, r in restores.items()}


def check_mapping(
    restores: Iterable[Restore],
    needed: Iterable[str],
    shapes: Mapping[str, Sequence[int]],
    kinds: Mapping[str, int],
    where: str,
    *,
    partial: bool = False,
) -> list[str]:
    """Compare a graph's variables with a checkpoint's `shapes` and `kinds` (dtype numbers), both by key.

    Returns a note for each harmless mismatch. Raises UserError that reports all other mismatches at once.
    """
    restores, wanted = sorted(restores, key=lambda restore: restore.key), set(needed)
    missing, wrong = [], []
    for restore in restores:
        if restore.key not in shapes:
            if restore.saved or restore.node in wanted:
                missing.append(restore)
            continue
        if restore.node in wanted or restore.saved:
            wrong += list(_differences(restore, tuple(shapes[restore.key]), get_base_dtype(kinds[restore.key])))
    extra = sorted(set(shapes) - {restore.key for restore in restores})
    fatal = [r for r in missing if r.node in wanted]
    if wrong or fatal or (missing and not partial):
        raise UserError(_complaint(where, missing, wrong, extra, shapes, fatal))
    notes = []
    if missing:
        listed = _list(restore.key for restore in missing)
        notes.append(f"the checkpoint lacks {format_count(len(missing), 'variable')} that no output needs: {listed}")
    unused = [key for key in extra if not _is_for_training(key, shapes)]
    if unused:
        notes.append(
            f"the checkpoint also holds {format_count(len(unused), 'variable')} that the graph lacks: {_list(unused)}"
        )
    return notes


def _is_for_training(key: str, known: Iterable[str]) -> bool:
    """Whether a variable belongs to training: a slot below another variable, or one of a few well-known names."""
    scope, _, last = key.rpartition("/")
    return scope in known or re.fullmatch(r"global_step|beta[12]_power(_\d+)?|save_counter", last) is not None


def _restored_from(index: GraphIndex, edge: str) -> tuple[str, str] | None:
    """Key and slice of the restore op behind an assigned value, which may pass through Identity, Reshape and Cast."""
    edge = index.trace_back(edge, IDENTITIES | {"Reshape", "Cast"})
    node = index.producer(edge)
    if node is None or node.op not in RESTORE_OPS:
        return None
    keys = _strings(index, node.input[1])
    specs = _strings(index, node.input[2]) if len(node.input) > 2 else []
    number = get_output_index(edge)
    if number >= len(keys):
        return None
    spec = specs[number] if number < len(specs) else ""
    if spec and not is_slice_spec(spec):
        raise UserError(
            f"the graph is damaged; it restores {make_printable(spec)!r} of {make_printable(keys[number])}, which is "
            "no slice; copy it here again"
        )
    return keys[number], spec


def _strings(index: GraphIndex, edge: str) -> list[str]:
    return [value.decode(errors="replace") for value in read_strings(index.producer(edge))]


def _unless_old(node: Any, sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """None for a `Variable` of TensorFlow 0.x without dimensions, which may have any shape."""
    return None if node.op == "Variable" and sizes == () else sizes


def _differences(restore: Restore, shape: tuple[int, ...], dtype: int) -> Iterator[str]:
    if restore.spec:
        full = restore.spec.rpartition(" ")[0]
        expected: tuple[int, ...] | None = tuple(int(size) for size in full.split())
    else:
        expected = restore.shape
    if expected is not None and expected != shape:
        yield f"{restore.key} is {show_shape(shape)} in the checkpoint and {show_shape(expected)} in the graph"
    if dtype != restore.dtype:
        held, wanted = get_dtype_name(dtype), get_dtype_name(restore.dtype)
        yield f"{restore.key} is {held} in the checkpoint and {wanted} in the graph"


def _complaint(
    where: str,
    missing: Sequence[Restore],
    wrong: Sequence[str],
    extra: Sequence[str],
    shapes: Mapping[str, Sequence[int]],
    fatal: Sequence[Restore],
) -> str:
    parts = [f"the graph and {where} do not match"]
    if missing:
        parts.append(f"the checkpoint does not hold {_list(restore.key for restore in missing)}")
    if wrong:
        parts.append(_list(wrong))
    if extra:
        parts.append(f"the graph does not use {_list(extra)}")
    likely = list(_likely(missing, extra, shapes))
    if likely:
        parts.append(f"likely renames: {' '.join(likely)}")
    elif missing and not fatal and not wrong:
        parts.append("no output needs the missing variables, so --partial goes on without them")
    else:
        parts.append("name the checkpoint of this graph, or the graph of this checkpoint with --graph")
    return "; ".join(parts)


def _likely(missing: Sequence[Restore], extra: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """`--rename` flags for missing and unused names of the same shape; one for a scope if only the scope differs."""
    free = [key for key in extra if not key.endswith(AVERAGE)]
    pairs = []
    for restore in missing:
        same = [key for key in free if restore.shape is None or tuple(shapes[key]) == restore.shape]
        best = difflib.get_close_matches(restore.key, same, n=1, cutoff=0.4 if len(same) > 1 else 0.0)
        if best:
            free.remove(best[0])
            pairs.append((best[0], restore.key))
    scopes = {_scopes(old, new) for old, new in pairs}
    if len(pairs) > 1 and len(scopes) == 1 and None not in scopes:
        yield from (f"--rename {scope[0]}={scope[1]}" for scope in scopes if scope)
    else:
        yield from (f"--rename {old}={new}" for old, new in pairs[:_LISTED])


def _scopes(old: str, new: str) -> tuple[str, str] | None:
    olds, news = old.split("/"), new.split("/")
    while olds and news and olds[-1] == news[-1]:
        olds.pop()
        news.pop()
    return ("/".join(olds), "/".join(news)) if olds and news else None


def name_nearest(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names, as the end of an error; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; the nearest are {', '.join(near)}" if near else ""


def _list(items: Iterable[str]) -> str:
    listed = list(items)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
