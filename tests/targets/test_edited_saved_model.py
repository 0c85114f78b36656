"""What is written beside the protobuf. tests/test_savedmodel_edit.py loads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from serialization import project
from serialization.errors import UserError
from serialization.files.locate import find_saved_model
from serialization.formats import protos
from serialization.formats.messages import read_message
from serialization.targets.edited_saved_model import edit_signature_defs, write_saved_model
from serialization.targets.edited_signatures import choose_signatures


@pytest.mark.parametrize("link", [False, True])
def test_files_are_copied_or_linked(tmp_path: Path, link: bool) -> None:
    found = find_saved_model(project.PRETRAINED / "1")
    whole = read_message(found.file).meta_graphs[0]
    folder = write_saved_model(whole, found, tmp_path / "new", link=link)
    assert protos.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0] == whole
    files = sorted((folder / "variables").iterdir())
    assert [file.name for file in files] == ["variables.data-00000-of-00001", "variables.index"]
    assert all(file.is_symlink() == link for file in files)
    assert files[0].read_bytes() == (found.path / "variables" / files[0].name).read_bytes()


def test_signatures_and_tags_are_replaced_and_the_source_stays() -> None:
    whole = protos.MetaGraphDef()
    whole.meta_info_def.tags.append("serve")
    for key in ("a", "b", "__saved_model_init_op"):
        whole.signature_def[key].outputs[key].name = f"{key}:0"
    edited = edit_signature_defs(whole, choose_signatures(whole, ["a"], [("a", "c")]), "x,y")
    assert set(edited.signature_def) == {"c", "__saved_model_init_op"}
    assert (list(edited.meta_info_def.tags), list(whole.meta_info_def.tags)) == (["x", "y"], ["serve"])
    assert set(whole.signature_def) == {"a", "b", "__saved_model_init_op"}
    assert list(edit_signature_defs(whole, [], "").meta_info_def.tags) == []
    assert list(edit_signature_defs(whole, []).meta_info_def.tags) == ["serve"]


@pytest.mark.parametrize("name", ["words.txt", "../words.txt", ""])
def test_an_asset_that_is_missing_or_elsewhere_is_named(tmp_path: Path, name: str) -> None:
    found = find_saved_model(project.PRETRAINED / "1")
    whole = protos.MetaGraphDef()
    whole.asset_file_def.add(filename=name)
    with pytest.raises(UserError, match=r"pretrainedresnet/1 is incomplete; its asset .*is missing; copy it here too"):
        write_saved_model(whole, found, tmp_path / "new")
