"""The token calculator equals the processors of transformers on random sizes, and keeps what follows from its rules."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.catalog.vision import vision_model, vision_models
from workbench.core.errors import InvalidSpec, NotAModel
from workbench.estimate.image_tokens import image_tokens

N_SIZES = 200


def sizes(seed, least=20, most=4000, aspect=60):
    """Heights and widths, a third of them extreme in shape, some at the edges of the rules."""
    rng = random.Random(seed)
    made = [(28, 28), (56, 56), (336, 336), (448, 448), (896, 896), (1024, 1024), (333, 999), (4000, 70)]
    while len(made) < N_SIZES + 8:
        height = rng.randint(least, most)
        width = rng.randint(least, most) if rng.random() < 0.66 else max(least, height // rng.randint(2, aspect))
        made.append((height, width) if rng.random() < 0.5 else (width, height))
    return made


def tokens(name, size):
    return image_tokens(vision_model(name), height_px=size[0], width_px=size[1])


@pytest.mark.parametrize(
    "name",
    ["Qwen/Qwen2-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3.5-27B"],
)
def test_patches_equal_the_qwen_processor(name):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    v = vision_model(name)
    processor = Qwen2VLImageProcessorPil(
        patch_size=v.patch_px, merge_size=v.merge, size={"shortest_edge": v.min_pixels, "longest_edge": v.max_pixels}
    )
    for size in sizes(1):
        found = tokens(name, size)
        assert found.n_patches == processor.get_number_of_image_patches(*size), size
        assert found.n_tokens == found.n_patches // v.merge**2
    # And what the processor really makes of a picture.
    made = processor(images=[np.zeros((300, 500, 3), np.uint8)], return_tensors="np")
    assert made["image_grid_thw"][0].prod() == tokens(name, (300, 500)).n_patches == len(made["pixel_values"])


def test_any_resolution_equals_the_llava_next_processor():
    from transformers import LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    own = LlavaNextProcessor.__new__(LlavaNextProcessor)
    own.image_processor = LlavaNextImageProcessorPil(size={"shortest_edge": 336})
    own.patch_size, own.num_additional_image_tokens, own.vision_feature_select_strategy = 14, 1, "default"
    for size in sizes(2):
        told = own._get_num_multimodal_tokens(image_sizes=[size]).num_image_tokens[0]
        assert tokens("llava-hf/llava-v1.6-mistral-7b-hf", size).n_tokens == told, size


def test_tiles_equal_the_internvl_processor():
    from transformers import InternVLProcessor
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    own = InternVLProcessor.__new__(InternVLProcessor)
    own.image_processor = GotOcr2ImageProcessorPil(
        size={"height": 448, "width": 448}, min_patches=1, max_patches=12, crop_to_patches=True
    )
    own.image_seq_length = 256
    for size in sizes(3):
        told = own._get_num_multimodal_tokens(image_sizes=[size])
        found = tokens("OpenGVLab/InternVL3-8B-hf", size)
        assert (found.n_tokens, found.n_squares) == (told.num_image_tokens[0], told.num_image_patches[0]), size


def test_the_budget_equals_gemma_4s_processor():
    from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size

    v = vision_model("google/gemma-4-26B-A4B")
    for size in sizes(4):
        told = get_aspect_ratio_preserving_size(*size, v.patch_px, v.most * v.merge**2, v.merge)
        found = tokens(v.model, size)
        assert (found.height_px, found.width_px) == told, size
        assert found.n_tokens <= v.most


def test_the_longest_edge_equals_pixtrals_processor():
    from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

    for height, width in sizes(5):
        told = get_resize_output_image_size(np.zeros((height, width, 3)), size=(1024, 1024), patch_size=(16, 16))
        found = tokens("mistral-community/pixtral-12b", (height, width))
        assert (found.height_px, found.width_px) == told
        assert found.n_tokens == told[0] // 16 * (told[1] // 16 + 1)


def test_fixed_pictures_equal_their_processors():
    from transformers import Gemma3Processor, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    llava = LlavaProcessor.__new__(LlavaProcessor)
    llava.image_processor = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    llava.patch_size, llava.num_additional_image_tokens, llava.vision_feature_select_strategy = 14, 1, "default"
    gemma = SimpleNamespace(image_seq_length=256)
    for size in sizes(6):
        told = llava._get_num_multimodal_tokens(image_sizes=[size]).num_image_tokens[0]
        assert tokens("llava-hf/llava-1.5-7b-hf", size).n_tokens == told == 576
        told = Gemma3Processor._get_num_multimodal_tokens(gemma, image_sizes=[size]).num_image_tokens[0]
        assert tokens("google/gemma-3-4b-it", size).n_tokens == told == 256


def test_the_canvas_equals_llama_4s_processor():
    pytest.importorskip("torchvision", reason="Llama 4's processor needs torchvision, which has no CPU build here")
    import torch
    from transformers.image_utils import SizeDict
    from transformers.models.llama4.image_processing_llama4 import find_supported_resolutions, get_best_fit
    from transformers.models.llama4.processing_llama4 import Llama4Processor

    marks = SimpleNamespace()
    grids = torch.tensor(find_supported_resolutions(max_num_chunks=16, patch_size=SizeDict(height=336, width=336)))
    for size in sizes(7):
        canvas = get_best_fit(torch.tensor(size), grids).tolist()
        text = Llama4Processor._prompt_split_image(marks, [side // 336 for side in canvas], 144)
        assert tokens("meta-llama/Llama-4-Scout-17B-16E-Instruct", size).n_tokens == text.count("<|"), size


@pytest.mark.parametrize("name", vision_models())
def test_every_row_answers_and_more_pixels_never_halve_the_tokens(name):
    before = 0
    for side in (64, 224, 448, 896, 1792):
        found = tokens(name, (side, side))
        assert found.n_tokens >= before / 2
        assert found.n_patches >= found.n_squares
        before = found.n_tokens


def test_a_worked_example():
    # Qwen2-VL card: tokens = (H'/28) x (W'/28); 1024 x 1024 rounds to 1036 x 1036, 37 x 37.
    found = tokens("Qwen/Qwen2-VL-7B-Instruct", (1024, 1024))
    assert (found.height_px, found.n_tokens) == (1036, 1369)


def test_the_shape_of_siglip_counts_its_parameters():
    # SigLIP-So400m has 428 million parameters of which positions, biases and the pooling head are not counted here.
    v = vision_model("google/gemma-3-4b-it")
    assert v.n_layers * v.layer_weights == pytest.approx(412e6, rel=0.02)


def test_what_a_processor_refuses_is_refused():
    with pytest.raises(InvalidSpec, match="200 to 1"):
        tokens("Qwen/Qwen3-VL-8B-Instruct", (20, 4020))
    with pytest.raises(InvalidSpec, match="nothing in it"):
        tokens("llava-hf/llava-1.5-7b-hf", (0, 10))
    with pytest.raises(NotAModel, match="No vision encoder"):
        vision_model("nobody/nothing")


def test_the_shape_of_qwen3_vl_counts_what_vllm_holds():
    # vLLM 0.26.0 holds 576 388 336 parameters in its vision tower (data/measured/images_qwen3-vl-8b-shape_h200.json).
    assert vision_model("Qwen/Qwen3-VL-8B-Instruct").n_params == pytest.approx(576_388_336, rel=0.01)
