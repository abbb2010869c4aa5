"""Files of Hugging Face's models, loaded and run into models that are built from their configs."""

import warnings

import pytest
import torch
from running_models import packed_names
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    T5Config,
    ViTConfig,
    WhisperConfig,
)

import deepcompression as dc
from deepcompression.checkpoint import open_checkpoint
from deepcompression.file.writer import save_tensors

LAYERS = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
WORDS = {"vocab_size": 120, "max_position_embeddings": 16}
WHISPER = {"d_model": 64, "num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 16}
WHISPER |= {f"{half}_{key}": n for half in ("encoder", "decoder") for key, n in (("layers", 1), ("attention_heads", 2))}
WHISPER |= {"encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 120, "pad_token_id": 0}
TOKENS = {"input_ids": torch.arange(14).view(2, 7) * 5}
BOTH = TOKENS | {"decoder_input_ids": TOKENS["input_ids"]}

# model -> class, config, inputs, weights that run packed, weights that stay dense
MODELS = {
    "bert": (AutoModelForMaskedLM, lambda: BertConfig(**LAYERS, **WORDS), TOKENS, "cls.predictions.decoder.weight"),
    "gpt2": (
        AutoModelForCausalLM,
        lambda: GPT2Config(n_embd=64, n_layer=1, n_head=2, vocab_size=120, n_positions=16),
        TOKENS,
        "transformer.h.0.attn.c_attn.weight",
    ),
    "llama": (
        AutoModelForCausalLM,
        lambda: LlamaConfig(**LAYERS, **WORDS, num_key_value_heads=2, tie_word_embeddings=True),
        TOKENS,
        "lm_head.weight",
    ),
    "t5": (
        AutoModelForSeq2SeqLM,
        lambda: T5Config(d_model=64, d_kv=32, d_ff=128, num_layers=1, num_heads=2, vocab_size=120),
        BOTH,
        "encoder.block.0.layer.0.SelfAttention.q.weight",
    ),
    "whisper": (
        AutoModelForSpeechSeq2Seq,
        lambda: WhisperConfig(**WHISPER),
        {"input_features": torch.ones(2, 8, 20), "decoder_input_ids": TOKENS["input_ids"]},
        "proj_out.weight",
    ),
    # its files have each expert apart, its modules have them joined
    "mixtral": (
        AutoModelForCausalLM,
        lambda: MixtralConfig(**LAYERS, **WORDS, num_key_value_heads=2, num_local_experts=3),
        TOKENS,
        "model.layers.0.self_attn.q_proj.weight",
    ),
    # its files have other names than its modules
    "vit": (
        AutoModel,
        lambda: ViTConfig(**LAYERS, image_size=16, patch_size=8),
        {"pixel_values": torch.ones(2, 3, 16, 16)},
        "layers.0.attention.q_proj.weight",
    ),
}
RULE = {"module": "*", "prune": {"density": 0.3}, "share": {"bits": 4}}
RECIPE = dc.Recipe.model_validate({"version": 1, "rules": [RULE]})


def make(name, device="cpu", seed=0):
    auto, config, *_ = MODELS[name]
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        return auto.from_config(config()).eval()


def outputs(model, name):
    with torch.no_grad():
        return model(**MODELS[name][2])[0]


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    """The model's name, its file made of the folder that it saves, and the folder that the file gives back."""
    folder = tmp_path_factory.mktemp(request.param)
    make(request.param).save_pretrained(folder / "hf")
    with open_checkpoint(folder / "hf") as source:
        dc.compress_checkpoint(source, folder / "m.dcz", RECIPE)
    from deepcompression.convert.from_dcz import decompress_file

    decompress_file(folder / "m.dcz", folder / "back")
    return request.param, folder / "m.dcz", folder / "back"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_its_file_is_loaded_and_run_as_its_folder_is(case, device):
    name, path, back = case
    expected = outputs(MODELS[name][0].from_pretrained(back).eval(), name)
    loaded = dc.load(path, into=make(name, device, seed=1))
    assert torch.equal(outputs(loaded, name), expected)
    small = dc.run(make(name, device, seed=1), path)
    assert torch.allclose(outputs(small, name), expected, atol=1e-5)
    assert MODELS[name][3] in packed_names(small)
    assert not any(tensor.is_meta for tensor in (*small.parameters(), *small.buffers()))


def test_a_running_model_is_not_saved_as_a_dense_one(case, tmp_path):
    name, path, _ = case
    small = dc.run(make(name, "meta"), path)
    with pytest.raises(TypeError, match=r"save_pretrained would write packed weights, .* dcz decompress"):
        small.save_pretrained(tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
    torch.save(small, tmp_path / "small.pt")
    again = torch.load(tmp_path / "small.pt", weights_only=False)
    assert torch.equal(outputs(again, name), outputs(small, name))


def notes_of(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(each.message).partition("dcz: ")[2] for each in caught]


def test_a_file_of_the_base_model_fits_the_model_with_a_head(tmp_path):
    model = make("gpt2")
    dc.save(model.transformer, tmp_path / "m.dcz")
    other = make("gpt2", "meta")
    assert notes_of(lambda: dc.load(tmp_path / "m.dcz", into=other)) == [
        "its names are taken with the prefix 'transformer.'"
    ]
    assert torch.equal(outputs(other, "gpt2"), outputs(model, "gpt2"))


def test_a_file_of_an_older_version_has_buffers_that_are_left_out(tmp_path):
    model = make("llama")
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = model.model.rotary_emb.inv_freq.clone()
    torch.save(tensors, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as source:
        dc.compress_checkpoint(source, tmp_path / "m.dcz")
    other = make("llama", "meta")
    (note,) = notes_of(lambda: dc.load(tmp_path / "m.dcz", into=other))
    assert note.endswith("are left out: model.layers.0.self_attn.rotary_emb.inv_freq")
    assert torch.equal(outputs(other, "llama"), outputs(model, "llama"))


def test_an_expert_that_is_missing_is_said_and_the_model_stays(tmp_path):
    make("mixtral").save_pretrained(tmp_path / "hf")
    with open_checkpoint(tmp_path / "hf") as source:
        tensors = {name: source.read(name) for name in source.entries if not name.endswith("experts.1.w2.weight")}
    save_tensors(tmp_path / "m.dcz", tensors)
    model = make("mixtral", seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"experts.down_proj is \[2, 64, 128\] of F32 in the file, \[3, 64, 128\]"):
        dc.load(tmp_path / "m.dcz", into=model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
