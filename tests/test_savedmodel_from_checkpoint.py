"""savedmodel_from_checkpoint.py: what saved_model_cli, the program, says of the export."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import PROJECT, Run, environment

DOCUMENTED = """\
MetaGraphDef with tag-set: 'serve' contains the following SignatureDefs:

signature_def['serving_default']:
  The given SavedModel SignatureDef contains the following input(s):
    inputs['inputs_1'] tensor_info:
        dtype: DT_FLOAT
        shape: (-1, 10)
        name: Placeholder/inputs_placeholder:0
  The given SavedModel SignatureDef contains the following output(s):
    outputs['output1'] tensor_info:
        dtype: DT_BOOL
        shape: (-1, 1)
        name: Accuracy/predictions:0
  Method name is: tensorflow/serving/predict
"""


def saved_model_cli(*words: str) -> str:
    done = subprocess.run(
        ["saved_model_cli", *words], cwd=PROJECT, env=environment(), check=True, capture_output=True, text=True
    )
    return done.stdout


def test_export_is_what_the_document_shows(run: Run, toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tfckptmodel"
    done = run("savedmodel_from_checkpoint", "--export-dir", folder)
    assert (done.status, done.stderr) == (0, "")
    assert DOCUMENTED in saved_model_cli("show", "--dir", str(folder), "--all")
    arguments = ("--tag_set", "serve", "--signature_def", "serving_default")
    row = "--input_exprs=inputs_1=[[0,1,2,3,4,5,6,7,8,9]]"
    assert (
        saved_model_cli("run", "--dir", str(folder), *arguments, row) == "Result for output key output1:\n[[False]]\n"
    )


def test_keys_of_the_users_own(run: Run, made: Path, tmp_path: Path) -> None:
    names = ("--inputs", "rows=Placeholder/inputs_placeholder", "--outputs", "big=Accuracy/predictions")
    done = run("savedmodel_from_checkpoint", "--checkpoint", made, "--export-dir", tmp_path / "1", *names)
    assert "proved: big: the same bits as the source, on 1,003 rows" in done.stdout
    again = run("savedmodel_from_checkpoint", "--checkpoint", made, "--export-dir", tmp_path / "1", *names)
    assert again.stderr == f"error: {tmp_path}/1 exists already; --overwrite replaces it\n"
    words = ("--checkpoint", made, "--export-dir", tmp_path / "1", "--overwrite")
    assert run("savedmodel_from_checkpoint", *words).status == 0
