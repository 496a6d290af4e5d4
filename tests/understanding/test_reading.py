"""Models of any architecture give, read in pieces and under techniques, the answers of a text that is read at once, or are refused in a sentence."""

import shutil

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

from workbench.attention.in_model import LongModel
from workbench.attention.kv_cache import held_bytes
from workbench.attention.limits import compare_cache, measure_prefill
from workbench.attention.rows import NotMeasured
from workbench.catalog.attention_techniques import AttentionOptions
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.compress.kv_quant import require_kv_cache
from workbench.core.errors import NotAModel, NotAvailable
from workbench.core.ports import Generation
from workbench.engines.http import EngineFailed
from workbench.engines.openai_server import open_engine
from workbench.engines.turns_engine import TurnsEngine
from workbench.understanding.reading import CausalReader, open_causal_model

pytestmark = pytest.mark.filterwarnings("ignore")
N_WORDS = 4096  # of the reference tokenizer
SMALL = {
    "vocab_size": N_WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": t.LlamaConfig(**SMALL, num_key_value_heads=2),
    "gemma3": t.Gemma3TextConfig(**SMALL, num_key_value_heads=2, head_dim=8, sliding_window=16),
    "bloom": t.BloomConfig(vocab_size=N_WORDS, hidden_size=32, n_layer=2, n_head=4),
    "mamba": t.MambaConfig(vocab_size=N_WORDS, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0),
    "rwkv": t.RwkvConfig(vocab_size=N_WORDS, hidden_size=32, attention_hidden_size=32, num_hidden_layers=2),
    "falcon": t.FalconConfig(
        vocab_size=N_WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, new_decoder_architecture=False
    ),
    "xglm": t.XGLMConfig(vocab_size=N_WORDS, d_model=32, num_layers=2, attention_heads=4, ffn_dim=48),
}
READ = [name for name in CONFIGS if name not in {"rwkv", "xglm"}]
PLAIN, WITH_CACHE, IN_TURNS = {"llama"}, {"llama", "gemma3", "bloom", "falcon"}, {"mamba", "rwkv", "falcon", "xglm"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each architecture, made when it is asked for."""
    root = tmp_path_factory.mktemp("models")

    def folder(name):
        place = root / name
        if not place.exists():
            torch.manual_seed(0)
            model = t.AutoModelForCausalLM.from_config(CONFIGS[name])
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim >= 2:
                        parameter.mul_(4)  # so that what is wrong shows
            model.save_pretrained(place)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                if (REFERENCE_MODEL / file).exists():
                    shutil.copy(REFERENCE_MODEL / file, place / file)
        return place

    return folder


def opened(folder, **options):
    return LongModel(str(folder), device="cpu", technique="flash", options=AttentionOptions(), **options)


@pytest.mark.parametrize("name", READ)
def test_a_text_in_pieces_under_full_attention_has_the_logits_of_the_whole(folders, name):
    model = opened(folders(name))
    ids = torch.arange(7, 67)
    whole = t.AutoModelForCausalLM.from_pretrained(folders(name), dtype=torch.float32).eval()
    with torch.no_grad():
        expected = whole(ids[None], use_cache=False).logits[0]
    assert (model.logits(ids.numpy()) - expected).abs().max() < 1e-3 * expected.std()
    answer = model.greedy_tokens(ids.numpy(), n_tokens=3)[0]
    with torch.no_grad():
        last = whole(torch.tensor([[*ids.tolist(), *answer[:2]]]), use_cache=False).logits[0, -1]
    assert last.max() - last[answer[2]] < 1e-3 * last.std()


@pytest.mark.parametrize("name", READ)
def test_a_window_takes_the_place_of_plain_attention_only(folders, name):
    model = opened(folders(name))
    if name in PLAIN:
        model.with_attention("window", AttentionOptions(window=8))
    else:
        with pytest.raises(NotAvailable, match="in its own way"):
            model.with_attention("window", AttentionOptions(window=8))


@pytest.mark.parametrize("name", READ)
def test_prefill_and_caches_are_measured_or_refused(folders, name):
    model = opened(folders(name))
    prefill = measure_prefill(model, length=60, chunk=64, n_steps=2, seed=0)
    assert prefill.kv_held_bytes > 0
    in_chunks = measure_prefill(model, length=60, chunk=20, n_steps=2, seed=0)
    assert isinstance(in_chunks, NotMeasured) == (name == "mamba")
    own = compare_cache(model, "preallocated", tokens=40, n_steps=2, chunk=16, seed=0)
    if name in WITH_CACHE:
        assert own.max_logit_difference < 1e-2
        require_kv_cache(model.model)
    else:
        assert "states" in own.reason
        with pytest.raises(NotAvailable, match="no KV cache"):
            require_kv_cache(model.model)


def test_positions_are_counted_over_pieces_by_classes_that_count_from_zero_in_each():
    torch.manual_seed(0)
    sizes = SMALL | {"num_hidden_layers": 4, "num_key_value_heads": 2, "attn_layer_indices": [1, 3]}
    state = {"mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_chunk_size": 8}
    model = t.BambaForCausalLM(t.BambaConfig(**sizes, **state)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    CausalReader(model).require_right_in_pieces(chunks=False)


@pytest.mark.parametrize("name", ["gemma3", "rwkv", "falcon", "xglm"])
def test_the_torch_engine_answers_as_the_model_does(folders, name):
    engine = open_engine("torch", folders(name), device="cpu", dtype=None, random_weights=False, kv_tokens=1024)
    try:
        assert isinstance(engine, TurnsEngine) == (name in IN_TURNS)
        prompt = tuple(range(7, 57))
        events = list(engine.generate(Generation(prompt=prompt, max_tokens=4, ignore_eos=True)))
        answer = [token for event in events for token in event.token_ids]
        whole = open_causal_model(str(folders(name)), dtype=torch.float32, device="cpu")
        for i, token in enumerate(answer):
            logits = CausalReader(whole).whole(torch.tensor([[*prompt, *answer[:i]]]))[0, -1]
            assert logits.max() - logits[token] < 1e-3 * logits.std()
        assert events[-1].finish_reason == "length"
        with pytest.raises(EngineFailed, match=f"token {N_WORDS}; the model's embedding has {N_WORDS} rows"):
            list(engine.generate(Generation(prompt=(5, N_WORDS), max_tokens=1)))
        assert engine.problem() is None
    finally:
        engine.close()
    assert engine.problem()


def test_a_class_that_mixes_the_texts_of_a_batch_is_refused(folders):
    with pytest.raises(NotAvailable, match=r"Rwkv.* in a batch of 2 than at once"):
        opened(folders("rwkv"))


def test_states_kept_in_the_model_itself_are_refused(folders):
    reader = CausalReader(open_causal_model(str(folders("llama")), dtype=torch.float32, device="cpu"))
    forward = reader.model.forward
    reader.model.forward = lambda input_ids, past_key_values=None, **named: forward(input_ids, use_cache=True)
    reader.__init__(reader.model)
    with pytest.raises(NotAvailable, match="token by token"):
        reader.require_right_in_pieces(chunks=False)


def test_nan_and_missing_tensors_are_refused_in_a_sentence(folders, tmp_path):
    place = tmp_path / "broken"
    shutil.copytree(folders("llama"), place)
    model = t.AutoModelForCausalLM.from_pretrained(place)
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("nan")
    model.save_pretrained(place)
    with pytest.raises(NotAModel, match="NaN"):
        opened(place)
    model.config.num_hidden_layers = 3
    model.config.save_pretrained(place)
    with pytest.raises(NotAModel, match=r"lacks 9 tensors of its architecture, first model\.layers\.2"):
        opened(place)
    (place / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(NotAModel, match=r"broken/model\.safetensors has 64 bytes, where its header alone has 0"):
        opened(place)


def test_a_layer_that_the_configuration_does_not_count_is_named(folders, tmp_path):
    place = tmp_path / "short"
    shutil.copytree(folders("llama"), place)
    config = t.AutoConfig.from_pretrained(place)
    config.num_hidden_layers = 1
    config.save_pretrained(place)
    with pytest.raises(NotAModel, match=r"hold model\.layers\.1, which its config\.json does not count"):
        open_causal_model(str(place), dtype=torch.float32, device="cpu")
    tensors = load_file(place / "model.safetensors")
    drafts = {key: tensor for key, tensor in tensors.items() if not key.endswith("layers.1.input_layernorm.weight")}
    save_file(drafts, place / "model.safetensors", metadata={"format": "pt"})  # a layer of another form is a draft
    open_causal_model(str(place), dtype=torch.float32, device="cpu")


KINDS = {
    "embeddings": (t.LlamaModel, CONFIGS["llama"]),
    "classes": (t.LlamaForSequenceClassification, CONFIGS["llama"]),
    "encoder-decoder": (t.T5ForConditionalGeneration, t.T5Config(vocab_size=64, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4)),
    "decoder of an encoder": (t.BartForConditionalGeneration, t.BartConfig(vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16)),
    "images": (t.ViTModel, t.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_another_kind_are_not_read_as_if_they_continued_texts(kind, tmp_path):
    made, config = KINDS[kind]
    made(config).save_pretrained(tmp_path)
    with pytest.raises(NotAModel, match=f"is a {made.__name__}, which does not continue a text"):
        open_causal_model(str(tmp_path), dtype=torch.float32, device="cpu")


@pytest.mark.parametrize(
    ("form", "beside"), [(torch.int8, {}), (torch.float8_e4m3fn, {"up_proj.weight_scale": torch.ones(1)})]
)
def test_codes_of_weights_are_not_taken_for_the_weights(folders, form, beside, tmp_path):
    shutil.copytree(folders("llama"), tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    name = next(key for key in tensors if "up_proj" in key)
    save_file(
        tensors | beside | {name: tensors[name].to(form)},
        tmp_path / "m" / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(NotAModel, match=f"stores {name} as .*does not say how its weights are quantized"):
        open_causal_model(str(tmp_path / "m"), dtype=torch.float32, device="cpu")
    config = t.AutoConfig.from_pretrained(tmp_path / "m")
    config.quantization_config = {"quant_method": "magic"}
    config.save_pretrained(tmp_path / "m")
    with pytest.raises(NotAModel, match="transformers does not know the method 'magic'"):
        open_causal_model(str(tmp_path / "m"), dtype=torch.float32, device="cpu")


@pytest.mark.parametrize(
    ("method", "asks_for"),
    [
        ({"quant_method": "gptq", "bits": 4}, "optimum"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "accelerate"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
    ],
)
def test_a_checkpoint_whose_package_is_missing_names_it_and_another_way(folders, method, asks_for, tmp_path):
    shutil.copytree(folders("llama"), tmp_path / "m")
    config = t.AutoConfig.from_pretrained(tmp_path / "m")
    config.quantization_config = method
    config.save_pretrained(tmp_path / "m")
    with pytest.raises(NotAvailable, match=f"quantized by {method['quant_method']}.*{asks_for}") as refused:
        open_causal_model(str(tmp_path / "m"), dtype=torch.float32, device="cpu")
    assert "vLLM" in refused.value.remedy


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"model.layers.0.mlp.up_proj.bias": (48,)}, r"up_proj\.bias, which LlamaForCausalLM does not read"),
        ({"model.layers.1.self_attn.q_norm.weight": (8,)}, r"q_norm\.weight, which LlamaForCausalLM does not read"),
        ({"model.layers.0.self_attn.rotary_emb.inv_freq": (4,), "model.visual.proj.weight": (2, 2)}, None),
    ],
)
def test_tensors_that_the_class_of_a_layer_would_drop_are_named(folders, more, said, tmp_path):
    shutil.copytree(folders("llama"), tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors |= {name: torch.ones(shape) for name, shape in more.items()}
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    if said is None:
        open_causal_model(str(tmp_path / "m"), dtype=torch.float32, device="cpu")
        return
    with pytest.raises(NotAModel, match=said):
        open_causal_model(str(tmp_path / "m"), dtype=torch.float32, device="cpu")


def test_a_head_beside_the_one_that_is_tied_and_an_adapter_are_refused(folders, tmp_path):
    place = tmp_path / "m"
    shutil.copytree(folders("llama"), place)
    config = t.AutoConfig.from_pretrained(place)
    config.tie_word_embeddings = True
    config.save_pretrained(place)
    with pytest.raises(NotAModel, match=r"hold a lm_head\.weight of its own, which its config\.json ties"):
        open_causal_model(str(place), dtype=torch.float32, device="cpu")
    (place / "adapter_config.json").write_text("{}")
    with pytest.raises(NotAModel, match="holds an adapter"):
        open_causal_model(str(place), dtype=torch.float32, device="cpu")


def test_held_bytes_count_states_and_windows_as_well_as_keys(folders):
    for name in ("mamba", "gemma3"):
        reader = CausalReader(open_causal_model(str(folders(name)), dtype=torch.float32, device="cpu"))
        with torch.inference_mode():
            short, long = (held_bytes(reader.read(torch.arange(3, 3 + n)[None])[1]) for n in (30, 60))
        assert short == long > 0  # neither grows beyond its window or its state
