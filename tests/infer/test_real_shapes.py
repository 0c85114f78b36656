"""Graphs after the shapes of real ones get the inputs and outputs that their makers use."""

from __future__ import annotations

import subprocess
import sys

import pytest
import shapes_fourth
import shapes_frozen
import shapes_held_back
import shapes_held_back_too
import shapes_images
import shapes_made
import shapes_pipelines
import shapes_tables
import shapes_texts
import shapes_third
from conftest import PROJECT
from real_shapes import SHAPES, make_file

from serialization.sources.choose import choose_signature

MODULES = (
    shapes_fourth,
    shapes_frozen,
    shapes_held_back,
    shapes_held_back_too,
    shapes_images,
    shapes_made,
    shapes_pipelines,
    shapes_tables,
    shapes_texts,
    shapes_third,
)


@pytest.mark.parametrize("name", SHAPES)
def test_inputs_and_outputs_are_those_of_the_maker(name: str) -> None:
    known = SHAPES[name]
    chosen, _ = choose_signature(make_file(known), None, None)
    assert {tensor.name for tensor in chosen.outputs} == known.outputs
    assert {tensor.name for tensor in chosen.inputs} == known.inputs


def test_no_module_of_inference_starts_tensorflow() -> None:
    code = "import sys, pkgutil, importlib, serialization.infer as infer\n"
    code += "[importlib.import_module(f'serialization.infer.{m.name}') for m in pkgutil.iter_modules(infer.__path__)]\n"
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0
