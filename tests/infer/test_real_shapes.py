"""Graphs after the shapes of real ones get the inputs and outputs that their makers use."""

from __future__ import annotations

import subprocess
import sys

import pytest
import shapes_eighth_images
import shapes_eighth_made
import shapes_eighth_texts
import shapes_fifth_games
import shapes_fifth_images
import shapes_fifth_pictures
import shapes_fifth_texts
import shapes_fourth
import shapes_frozen
import shapes_held_back
import shapes_held_back_too
import shapes_images
import shapes_made
import shapes_ninth
import shapes_pipelines
import shapes_seventh
import shapes_sixth_games
import shapes_sixth_images
import shapes_sixth_pictures
import shapes_sixth_series
import shapes_sixth_texts
import shapes_tables
import shapes_tenth
import shapes_texts
import shapes_third
from conftest import PROJECT
from real_shapes import SHAPES, make_known

from serialization.errors import UserError
from serialization.sources.choose import choose_signature

MODULES = (
    shapes_eighth_images,
    shapes_eighth_made,
    shapes_eighth_texts,
    shapes_fifth_games,
    shapes_fifth_images,
    shapes_fifth_pictures,
    shapes_fifth_texts,
    shapes_fourth,
    shapes_frozen,
    shapes_held_back,
    shapes_held_back_too,
    shapes_images,
    shapes_made,
    shapes_ninth,
    shapes_pipelines,
    shapes_seventh,
    shapes_sixth_games,
    shapes_sixth_images,
    shapes_sixth_pictures,
    shapes_sixth_series,
    shapes_sixth_texts,
    shapes_tables,
    shapes_tenth,
    shapes_texts,
    shapes_third,
)


# What inference gives where it misses the outputs that the maker fetches: its outputs, or AMBIGUOUS for an error.
# The list may only become shorter: whoever mends a miss takes it out.
AMBIGUOUS = ""
MISSED = {
    "actor_critic_of_many": "Global_Net/actor/ap/Softmax Global_Net/critic/v/BiasAdd",
    "age_and_gender": "Softmax_1 Sum",
    "captions_by_attention": AMBIGUOUS,
    "cifar_with_validation": "ResNet/Softmax",
    "clicks_and_sales": "ctcvr_prob",
    "codes_of_two_inputs": "decode/Relu",
    "colors_of_what_is_seen": "fc1_voc12/BiasAdd",
    "depth_from_one_picture": "model/ExpandDims " + " ".join(f"model/ExpandDims_{n}" for n in range(1, 6)),
    "digits_side_by_side": AMBIGUOUS,
    "dreams_of_what_comes_next": "mdn/split:1 mdn/split:2 mdn/sub",
    "intents_and_entities": "entity_probs intent_probs",
    "masks_of_things": "mrcnn_mask/Reshape_1",
    "moves_in_a_video_game": "prediction/q/BiasAdd",
    "next_click_of_a_session": AMBIGUOUS,
    "pictures_both_ways": AMBIGUOUS,
    "pictures_by_text_exported": "packed",
    "pictures_enhanced": "DepthToSpace",
    "proposals_and_classes": "resnet/bbox_pred/add resnet/cls_prob",
    "questions_about_a_story": "predict_log_proba_op predict_op",
    "sentences_that_are_alike": "accuracy/temp_sim",
    "speech_from_letters": "inference/dense/BiasAdd",
    "strokes_of_a_drawing": "vector_rnn/Sum vector_rnn/mul_11",
    "summary_greedy": "decode/map/TensorArrayStack/TensorArrayGatherV3"
    " decode/map/TensorArrayStack_1/TensorArrayGatherV3 decode/map/TensorArrayStack_2/TensorArrayGatherV3",
    "two_towers_of_triplets": "model/conv5/BiasAdd",
    "wave_sample_by_sample": "Reshape_2",
    "words_in_a_line": "raw_prediction " + " ".join(f"CTCBeamSearchDecoder:{n}" for n in range(4)),
    "words_of_a_window": "embeddings/embedding_lookup",
}


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - MISSED))
def test_inputs_and_outputs_are_those_of_the_maker(name: str) -> None:
    file, inputs, outputs = make_known(SHAPES[name])
    chosen, _ = choose_signature(file, None, None)
    assert {tensor.name for tensor in chosen.outputs} == outputs
    assert {tensor.name for tensor in chosen.inputs} == inputs


@pytest.mark.parametrize("name", MISSED)
def test_known_misses_are_no_other_ones(name: str) -> None:
    file, _, outputs = make_known(SHAPES[name])
    if MISSED[name] == AMBIGUOUS:
        with pytest.raises(UserError, match=r"ambiguous what the graph's outputs are"):
            choose_signature(file, None, None)
    else:
        chosen, _ = choose_signature(file, None, None)
        found = {tensor.name for tensor in chosen.outputs}
        assert found == {n if ":" in n else f"{n}:0" for n in MISSED[name].split()} != outputs


def test_no_module_of_inference_starts_tensorflow() -> None:
    code = "import sys, pkgutil, importlib, serialization.infer as infer\n"
    code += "[importlib.import_module(f'serialization.infer.{m.name}') for m in pkgutil.iter_modules(infer.__path__)]\n"
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0
