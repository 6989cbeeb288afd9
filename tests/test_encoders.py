"""Frozen encoders: loading weights safely, the same vectors as open_clip, prompts."""

from __future__ import annotations

import json
import os
import re
import socket

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms import Compose

from pzsl.device import resolve_precision
from pzsl.encoders import (
    encode_classes,
    load_encoder,
    load_templates,
    openclip,
    openclip_weights,
    prompts,
)
from pzsl.encoders.build_openclip import needs_quick_gelu
from pzsl.encoders.int8 import Int8Attention, Int8Linear, products_are_exact, to_int8
from pzsl.encoders.openclip import PRESETS
from pzsl.encoders.text_padding import encode_tokens
from pzsl.encoders.weights import expand_token_rows, read_weights, weights_hash
from pzsl.errors import UsageError, UserError

MINI = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 224, "patch_size": 56, "layers": 1, "width": 64},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}

MEAN, STD = (
    torch.tensor(values)[:, None, None]
    for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
)

exact_integers = pytest.mark.skipif(
    not products_are_exact(), reason="torch gets products of 8-bit integers wrong on this processor"
)


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    """A small model, `pzsl-mini`, that open_clip knows, with random weights."""
    config = tmp_path_factory.mktemp("config") / "pzsl-mini.json"
    config.write_text(json.dumps(MINI))
    open_clip.add_model_config(config)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return open_clip.create_model("pzsl-mini", pretrained=None).eval()


@pytest.fixture(scope="module")
def mini_file(mini, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "mini.safetensors"
    save_file(mini.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def encoder(mini_file):
    return load_encoder("pzsl-mini", str(mini_file))


@pytest.fixture(scope="module")
def transform(mini):
    """open_clip's own preparation of images for evaluation."""
    return open_clip.create_model_and_transforms("pzsl-mini", pretrained=None)[2]


def picture(mode="RGB", size=(300, 240), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((7, 5)).resize(size, Image.Resampling.BICUBIC)
    return image.convert(mode)


def one_line(caught, *words):
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# --- the same as open_clip -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
@pytest.mark.parametrize("size", [(300, 240), (64, 500), (224, 224), (20, 10)])
def test_preprocessing_is_open_clips_own(encoder, transform, mode, size):
    image = picture(mode, size)
    theirs = np.array(Compose(transform.transforms[:-2])(image))
    apart = encoder.preprocess(image).int() - torch.from_numpy(theirs).permute(2, 0, 1).int()
    assert apart.abs().max() <= 1  # one level of 255: the cut comes before resizing
    assert (apart != 0).float().mean() < 0.001


def test_vectors_are_open_clips_own_with_normalize(encoder, mini):
    batch = torch.stack([encoder.preprocess(picture(seed=seed)) for seed in range(5)])
    texts = ["a photo of a red fox.", "a zebra", "12 monkeys!"]
    tokens = open_clip.get_tokenizer("pzsl-mini")(texts)
    with torch.no_grad():
        floats = (batch / 255 - MEAN) / STD
        images = mini.encode_image(floats, normalize=True)
        words = mini.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encoder.encode_images(batch), images, rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder.encode_texts(texts), words, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pool", ["argmax", "eos"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("custom", [True, False])
def test_texts_are_cut_to_the_longest_where_that_changes_nothing(causal, custom, pool):
    text = {**MINI["text_cfg"], "pool_type": pool, "eos_id": 49407, "no_causal_mask": not causal}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
        model = kind(32, MINI["vision_cfg"], text).eval()
    tower = model.text if custom else model
    tokens = open_clip.get_tokenizer("ViT-B-32")(["a fox", "a photo of a very small zebra.", "x"])
    lengths = []
    tower.token_embedding.register_forward_pre_hook(
        lambda _, args: lengths.append(args[0].shape[1])
    )
    with torch.inference_mode():
        found = encode_tokens(model, tokens)
        whole = model.encode_text(tokens, normalize=True)
    assert lengths == [10 if causal else 77, 77]
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)


@exact_integers
def test_integers_are_nearly_a_linear_layer_and_each_row_is_on_its_own():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(96, 64, generator=generator), torch.randn(96, generator=generator)
    weight[5] *= 100  # a channel on a scale of its own
    weight[6] = 0
    x = torch.randn(7, 5, 64, generator=generator) * torch.logspace(-3, 3, 7)[:, None, None]
    x[3, 2] = 0
    layer = Int8Linear(weight, bias)
    right = torch.nn.functional.linear(x, weight, bias)
    size = x.norm(dim=-1, keepdim=True) * weight.norm(dim=-1)
    assert ((layer(x) - right).abs() <= 0.01 * size + 1e-5).all()
    assert torch.equal(layer(x)[4, 3], layer(x[4, 3][None])[0])
    torch.testing.assert_close(Int8Linear(weight, None)(x), layer(x) - bias, rtol=1e-5, atol=1e-3)


@exact_integers
@pytest.mark.parametrize("masked", [True, False])
def test_attention_in_integers_is_nearly_the_same(masked):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = torch.nn.MultiheadAttention(64, 4, batch_first=True).eval()
        x = torch.randn(3, 9, 64)
    mask = torch.full((9, 9), float("-inf")).triu(1) if masked else None
    with torch.no_grad():
        right = whole(x, x, x, need_weights=False, attn_mask=mask)[0]
        found = Int8Attention(whole)(x, x, x, need_weights=False, attn_mask=mask)[0]
    assert torch.nn.functional.cosine_similarity(found, right, dim=-1).min() > 0.999


@exact_integers
def test_int8_vectors_are_nearly_those_in_full_precision(encoder, mini_file):
    rounded = load_encoder("pzsl-mini", str(mini_file), precision="int8")
    assert rounded.identity.precision == "int8"
    assert rounded.identity.weights_hash == encoder.identity.weights_hash
    batch = torch.stack([encoder.preprocess(picture(seed=seed)) for seed in range(16)])
    vectors = rounded.encode_images(batch)
    assert (vectors * encoder.encode_images(batch)).sum(dim=1).min() >= 0.999
    assert not torch.equal(vectors, encoder.encode_images(batch))
    batch[:3] = 255  # an image has its vector whatever else is in the batch
    assert torch.equal(vectors[3:], rounded.encode_images(batch)[3:])
    assert torch.equal(rounded.encode_texts(["a fox"]), encoder.encode_texts(["a fox"]))


@pytest.mark.slow
def test_int8_vectors_of_photographs_are_nearly_those_in_full_precision(real_data, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32", pretrained=None)
    save_file(model.state_dict(), tmp_path / "random.safetensors")
    weights = str(tmp_path / "random.safetensors")
    whole, rounded = (load_encoder("ViT-B-32", weights, precision=p) for p in ("fp32", "int8"))
    files = sorted((real_data / "images" / "cub50").rglob("*.jpg"))[::20]
    batch = torch.stack([whole.preprocess(Image.open(file)) for file in files])
    cosines = (rounded.encode_images(batch) * whole.encode_images(batch)).sum(dim=1)
    assert cosines.min() >= 0.999


@exact_integers
def test_int8_is_refused_where_there_is_no_transformer_to_round(tiny_weights):
    with pytest.raises(UsageError, match="tiny sees with no transformer"):
        load_encoder("tiny", str(tiny_weights), precision="int8")


def test_integers_are_for_the_cpu_and_half_floats_are_not():
    with pytest.raises(UsageError, match="int8 is for the CPU"):
        resolve_precision("int8", torch.device("cuda"))
    with pytest.raises(UsageError, match="fp32 or int8"):
        resolve_precision("fp16", torch.device("cpu"))


def test_vectors_are_unit_float32_on_the_cpu_and_need_no_gradient(encoder):
    images = encoder.encode_images(torch.randn(3, 3, 224, 224))
    texts = encoder.encode_texts(["a", "b"])
    for vectors, count in ((images, 3), (texts, 2)):
        assert vectors.shape == (count, encoder.identity.dim)
        assert vectors.dtype == torch.float32
        assert vectors.device.type == "cpu"
        assert not vectors.requires_grad
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(count), rtol=0, atol=1e-6)


def test_half_precision_gives_nearly_the_same_unit_vectors(encoder, mini_file, monkeypatch):
    monkeypatch.setattr(openclip, "resolve_precision", lambda *_: ("bf16", torch.bfloat16))
    half = load_encoder("pzsl-mini", str(mini_file))
    batch = torch.stack([encoder.preprocess(picture(seed=seed)) for seed in range(4)])
    vectors = half.encode_images(batch)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(4), rtol=0, atol=1e-6)
    assert (vectors * encoder.encode_images(batch)).sum(-1).min() > 0.99
    assert (half.encode_texts(["fox"]) * encoder.encode_texts(["fox"])).sum() > 0.99
    assert half.identity.weights_hash == encoder.identity.weights_hash
    assert half.identity.precision == "bf16"


def test_identity_says_all_that_decides_the_vectors(encoder, mini, mini_file):
    identity = encoder.identity
    assert (identity.model, identity.pretrained) == ("pzsl-mini", "mini.safetensors")
    assert identity.weights_hash == weights_hash(load_file(mini_file))
    assert identity.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert identity.normalised
    preprocessing = json.loads(json.dumps(identity.preprocessing))
    assert preprocessing == identity.preprocessing
    assert preprocessing["size"] == [224, 224]
    assert preprocessing["mean"] == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_loading_leaves_the_global_generator_alone_and_says_how_images_are_prepared(
    mini_file, capfd
):
    before = torch.random.get_rng_state()
    load_encoder("pzsl-mini", str(mini_file))
    assert torch.equal(torch.random.get_rng_state(), before)
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert "mean (0.481, 0.458, 0.408)" in err and "from pzsl-mini's default" in err


def test_tiny_is_a_preset_of_the_same_loader(tiny_weights, capfd):
    tiny = load_encoder("tiny", str(tiny_weights))
    assert tiny.identity.preprocessing["size"] in (64, [64, 64])
    assert tiny.identity.preprocessing["mean"] == [0.5, 0.5, 0.5]
    white = tiny.preprocess(Image.new("RGB", (64, 64), "white"))
    assert torch.equal(white, torch.full((3, 64, 64), 255, dtype=torch.uint8))
    assert tiny.encode_images(white[None]).shape == (1, 128)
    assert capfd.readouterr().err == ""


def test_the_built_in_weights_are_within_their_size_and_load_offline(monkeypatch):
    assert PRESETS["tiny"].weights.stat().st_size <= 6_000_000
    monkeypatch.setattr(socket.socket, "connect", None)
    tiny = load_encoder()
    assert (tiny.identity.model, tiny.identity.pretrained) == ("tiny", "built-in")


# --- checkpoint files ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("wrap", ["bare", "state_dict", "module"])
def test_each_form_of_a_checkpoint_gives_the_same_weights(mini, mini_file, tmp_path, suffix, wrap):
    state = dict(mini.state_dict())
    if wrap == "module":
        state = {f"module.{name}": value for name, value in state.items()}
    file = tmp_path / f"checkpoint{suffix}"
    torch.save(state if wrap == "bare" else {"epoch": 3, "state_dict": state}, file)
    assert weights_hash(read_weights(file)) == weights_hash(load_file(mini_file))


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_with_code_is_refused_and_its_code_not_run(tmp_path):
    file, target = tmp_path / "evil.pt", tmp_path / "ran"
    torch.save({"state_dict": Bomb(target)}, file)
    with pytest.raises(UserError) as caught:
        load_encoder("tiny", str(file))
    one_line(caught, "evil.pt", "hold code", "safetensors")
    assert not target.exists()


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_refused_with_the_way_out(tmp_path):
    file = tmp_path / "ViT-B-32.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    with pytest.raises(UserError) as caught:
        load_encoder("tiny", str(file))
    one_line(caught, "state_dict", "safetensors")


@pytest.mark.parametrize("product", [None, lambda left, right: left.int() @ right.int() - 1])
def test_int8_is_refused_where_its_products_are_wrong_or_missing(monkeypatch, product):
    if product is None:
        monkeypatch.delattr(torch, "_int_mm")
    else:
        monkeypatch.setattr(torch, "_int_mm", product)
    with pytest.raises(UserError, match="newer torch, or use --precision fp32"):
        to_int8(torch.nn.Sequential())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", ["empty", "cut", "junk"])
def test_a_broken_checkpoint_is_named(mini, mini_file, tmp_path, suffix, content):
    file = tmp_path / f"broken{suffix}"
    if suffix == ".pt":
        torch.save(mini.state_dict(), file)
    else:
        file.write_bytes(mini_file.read_bytes())
    whole = file.read_bytes()
    broken = {"empty": b"", "cut": whole[: len(whole) // 2], "junk": b"hello, hello, hello"}
    file.write_bytes(broken[content])
    with pytest.raises(UserError) as caught:
        load_encoder("pzsl-mini", str(file))
    one_line(caught, file.name, "broken or cut short")


def test_missing_files_folders_and_other_types_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no weights")
    (tmp_path / "folder.pt").mkdir()
    for name, word in (("none.pt", "is not there"), ("notes.txt", "should end in")):
        with pytest.raises(UserError) as caught:
            load_encoder("tiny", str(tmp_path / name))
        one_line(caught, name, word)
    with pytest.raises(UserError, match="is a folder"):
        load_encoder("tiny", str(tmp_path / "folder.pt"))


def test_a_file_without_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(UserError, match="hold no tensors"):
        load_encoder("tiny", str(tmp_path / "empty.pt"))


@pytest.mark.parametrize("change", ["shape", "missing", "extra"])
def test_weights_that_do_not_fit_are_answered_with_the_first_difference(mini, tmp_path, change):
    state = {name: value.clone() for name, value in mini.state_dict().items()}
    name = "visual.proj"
    if change == "shape":
        state[name] = state[name][:, :5].contiguous()
    elif change == "missing":
        del state[name]
    else:
        name = "visual.zzz"
        state[name] = torch.zeros(2)
    file = tmp_path / "other.safetensors"
    save_file(state, file)
    with pytest.raises(UserError) as caught:
        load_encoder("pzsl-mini", str(file))
    one_line(caught, "other.safetensors", "pzsl-mini", f"'{name}'", "1 of ", "--model")


def test_the_hash_depends_on_names_shapes_and_values_alone():
    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2)}
    same = {"a": torch.ones(2), "b": torch.arange(6.0).reshape(3, 2).T.contiguous().T.reshape(2, 3)}
    assert weights_hash(state) == weights_hash(same)
    for other in (
        {**state, "a": torch.ones(2) * 2},
        {"b": state["b"], "c": torch.ones(2)},
        {**state, "b": state["b"].reshape(3, 2)},
    ):
        assert weights_hash(state) != weights_hash(other)


# --- a shortened token table ---------------------------------------------------------------------


@given(st.sets(st.integers(0, 49), min_size=1), st.integers(1, 4))
def test_expanding_puts_each_kept_row_back(rows, width):
    rows = torch.tensor(sorted(rows))
    kept = torch.randn(len(rows), width, generator=torch.Generator().manual_seed(0))
    state = {"token_embedding.weight": kept, "token_rows": rows, "other": torch.ones(1)}
    whole, known = expand_token_rows(state, 50, "x")
    table = whole["token_embedding.weight"]
    assert set(whole) == {"token_embedding.weight", "other"}
    assert torch.equal(table[rows], kept)
    assert table[~known].abs().sum() == 0
    assert torch.equal(known.nonzero()[:, 0], rows)


def test_a_whole_table_is_left_alone():
    state = {"token_embedding.weight": torch.ones(4, 2)}
    assert expand_token_rows(state, 4, "x") == (state, None)


@pytest.mark.parametrize(
    "rows", [[0, 1], [0, 1, 50], [-1, 0, 1], [0.0, 1.0, 2.0], [[0, 1, 2]], []], ids=str
)
def test_token_rows_that_do_not_fit_are_refused(rows):
    state = {"token_embedding.weight": torch.ones(3, 2), "token_rows": torch.tensor(rows)}
    with pytest.raises(UserError, match="token_rows"):
        expand_token_rows(state, 50, "x.safetensors")


def test_tiny_names_the_words_that_it_does_not_know(tiny_weights):
    tiny = load_encoder("tiny", str(tiny_weights))
    assert tiny.check_texts(["a photo of a red plain star.", "a Blue striped circle!?"[:-2]]) == []
    (line,) = tiny.check_texts(["a photo of a red zebra.", "a crossing zebra."])
    assert "2 words" in line
    assert line.endswith("crossing, zebra.")
    (line,) = tiny.check_texts([f"word{n} {chr(97 + n)}x" for n in range(12)])
    assert re.search(r"and \d+ more\.$", line)


def test_a_prompt_is_cut_off_only_where_it_is_longer_than_the_model_reads(encoder):
    fits, longer = "fox " * 75, "fox " * 76  # and the marks of begin and end: 77 tokens
    assert encoder.check_texts([fits, "fox"]) == []
    (line,) = encoder.check_texts([fits, longer, "fox"])
    assert "1 of 3 prompts" in line
    assert "77 tokens" in line
    assert torch.equal(*encoder.encode_texts([longer, longer + " wolf"]))


# --- which model, which weights ------------------------------------------------------------------


def test_an_unknown_model_is_answered_with_the_nearest_name():
    for wrong, right in (
        ("vit-b-32", "ViT-B-32"),
        ("tinny", "tiny"),
        ("convnext_bsae", "convnext_base"),
    ):
        with pytest.raises(UsageError) as caught:
            load_encoder(wrong)
        assert len(one_line(caught, f"Did you mean '{right}'?")) < 200


def test_an_unknown_tag_is_answered_with_the_nearest_name():
    with pytest.raises(UsageError) as caught:
        load_encoder("ViT-B-32", "opnai")
    one_line(caught, "Did you mean 'openai'?", "laion2b_s34b_b79k")


def test_random_weights_are_never_used(mini):
    for model in ("ViT-M-32", "pzsl-mini"):
        with pytest.raises(UsageError) as caught:
            load_encoder(model)
        one_line(caught, model, "--pretrained")
    with pytest.raises(UsageError, match="no published weights"):
        load_encoder("pzsl-mini", "openai")
    with pytest.raises(UsageError, match="one of datacomp_s34b_b86k"):
        load_encoder("ViT-B-32-256")


def test_a_model_that_needs_another_library_is_answered_in_one_line(mini_file, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("Please `pip install transformers` to use\nsuch models.")

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(UserError) as caught:
        load_encoder("roberta-ViT-B-32", str(mini_file))
    one_line(caught, "roberta-ViT-B-32", "pip install transformers")


def test_offline_the_message_says_which_file_and_how_to_give_it(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", None)
    with pytest.raises(UserError) as caught:
        load_encoder("ViT-B/32")
    one_line(
        caught,
        "'openai' of ViT-B-32",
        "HF_HUB_OFFLINE is set",
        "open_clip_model.safetensors",
        "https://huggingface.co/timm/vit_base_patch32_clip_224.openai",
        "save it as openai.safetensors",
        "--pretrained",
    )


@pytest.mark.parametrize("lost", ["no route", "not there"])
def test_a_hub_that_can_not_be_reached_is_answered_in_one_line(monkeypatch, capsys, lost):
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def download(repository, name, local_files_only):
        asked.append((name, local_files_only))
        if local_files_only or lost == "not there":
            raise LocalEntryNotFoundError("not there")
        raise ConnectionError("no route to host\nat all")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(openclip_weights, "is_reachable", lambda url: True)
    with pytest.raises(UserError) as caught:
        load_encoder("ViT-B-32")
    one_line(caught, "can't be fetched", "no route" if lost == "no route" else "can't be reached")
    assert [local for _, local in asked] == [True, True, False]
    assert "Fetching the weights 'openai'" in capsys.readouterr().err


def test_published_weights_come_from_the_cache_without_asking_the_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", None)
    snapshot = tmp_path / "models--timm--vit_base_patch32_clip_224.openai" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_model.safetensors").write_bytes(b"")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    source = openclip_weights.find_weights("ViT-B-32", None)
    assert source.path == snapshot / "open_clip_model.safetensors"
    assert source.name == "openai"
    assert source.config["quick_gelu"]


# --- QuickGELU -----------------------------------------------------------------------------------


def test_weights_of_openai_get_quick_gelu(mini, tmp_path, capsys):
    state = dict(mini.state_dict()) | {"input_resolution": torch.tensor(224)}
    save_file(state, tmp_path / "theirs.safetensors")
    found = load_encoder("pzsl-mini", str(tmp_path / "theirs.safetensors"))
    line = capsys.readouterr().err.splitlines()[0]
    assert "QuickGELU" in line
    quick = open_clip.create_model("pzsl-mini", pretrained=None, force_quick_gelu=True).eval()
    quick.load_state_dict(mini.state_dict())
    batch = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = quick.encode_image(batch, normalize=True)
        wrong = mini.encode_image(batch, normalize=True)
    torch.testing.assert_close(found.encode_images(batch), right, rtol=0, atol=1e-6)
    assert (found.encode_images(batch) - wrong).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("path", "quick"),
    [
        ("openai.safetensors", True),
        ("downloads/ViT-B-32.openai.pt", True),
        ("vit_b_32-quickgelu-laion400m_e31-d867053b.pt", True),
        ("laion2b-s34b-b79k.safetensors", None),
        (
            "models--timm--vit_base_patch32_clip_224.openai/snapshots/a/open_clip_model.safetensors",
            1,
        ),
    ],
)
def test_published_weights_are_recognised_by_their_file_name(tmp_path, capsys, path, quick):
    config = openclip_weights.known_origin("ViT-B-32", tmp_path / path)
    assert bool(config.get("quick_gelu")) is bool(quick)
    assert "mean" in config
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("path", ["mine.pt", "notopenai.pt", "openai/mine.safetensors"])
def test_other_files_are_not_taken_for_published_ones(tmp_path, path):
    assert openclip_weights.known_origin("ViT-B-32", tmp_path / path) == {}


def test_every_published_tag_gets_the_activation_it_was_trained_with(capsys):
    for model, tag in open_clip.list_pretrained():
        config = open_clip.get_pretrained_cfg(model, tag)
        own = open_clip.get_model_config(model).get("quick_gelu", False)
        source = openclip_weights.Source(tag, None, config)
        assert config["hf_hub"], f"{model} {tag} is not on the hub: fetch() can't get it"
        assert needs_quick_gelu(model, source, {}) == (own or config.get("quick_gelu", False))
    capsys.readouterr()


def test_a_file_of_unknown_origin_gets_a_word_on_the_activation(capsys):
    source = openclip_weights.Source("mine.pt", None, {})
    assert not needs_quick_gelu("ViT-B-32", source, {})
    (line,) = capsys.readouterr().err.splitlines()
    assert "--model ViT-B-32-quickgelu" in line
    assert needs_quick_gelu("ViT-B-32-quickgelu", source, {})
    assert capsys.readouterr().err == ""


# --- prompts -------------------------------------------------------------------------------------


def test_class_vectors_keep_each_template_apart(encoder, monkeypatch):
    classes, templates = ["red fox", "zebra", "ox"], ("a photo of a {}.", "art of the {}.")
    whole = encode_classes(encoder, classes, templates)
    assert whole.shape == (3, 2, 32)
    one = encoder.encode_texts(["art of the zebra."])[0]
    torch.testing.assert_close(whole[1, 1], one, rtol=0, atol=1e-5)
    monkeypatch.setattr(prompts, "BATCH", 4)
    torch.testing.assert_close(
        encode_classes(encoder, classes, templates), whole, rtol=0, atol=1e-5
    )


def test_templates_user_over_data_set_over_default(tmp_path):
    assert load_templates("shapes")[0] == "a photo of a {}."
    assert load_templates("folder") == load_templates("no such data set")
    assert "itap of a {}." in load_templates("folder")
    own = tmp_path / "own.txt"
    own.write_text("\ufeffa sketch of {}\n\n  one more {}.  \n", "utf-8")
    assert load_templates("shapes", own) == ("a sketch of {}", "one more {}.")


def test_a_template_that_is_given_twice_counts_once_which_is_told(tmp_path, capsys):
    (tmp_path / "own.txt").write_bytes("a {}\nthe {}\n a  {} \nthe {}.\n".encode("utf-16"))
    assert load_templates("shapes", tmp_path / "own.txt") == ("a {}", "the {}", "the {}.")
    assert "own.txt', line 3 is line 1 again: it counts once." in capsys.readouterr().err


def test_every_shipped_template_file_is_valid():
    files = sorted(prompts.FOLDER.glob("*.txt"))
    assert {"default", "shapes"} <= {file.stem for file in files}
    for file in files:
        templates = load_templates(file.stem)
        assert len(set(templates)) == len(templates)


@pytest.mark.parametrize("line", ["a photo", "a {} and a {}", "a {0}", "a {name} {}", "a {} }"])
def test_a_template_without_exactly_one_hole_is_named(tmp_path, line):
    file = tmp_path / "own.txt"
    file.write_text(f"good {{}}\n{line}\n")
    with pytest.raises(UserError) as caught:
        load_templates("shapes", file)
    one_line(caught, "own.txt", "line 2", line)


@pytest.mark.parametrize("line", ['"a photo of a {}.",', "'a {}'"])
def test_a_template_copied_with_its_quotes_is_refused(tmp_path, line):
    (tmp_path / "own.txt").write_text(f"'good' {{}}\n{line}\n")
    with pytest.raises(UserError, match=r"own.txt', line 2: .* has quotes"):
        load_templates("shapes", tmp_path / "own.txt")


def test_empty_missing_and_binary_template_files_are_named(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe{}\x80")
    for name, word in (("empty", "hold no line"), ("binary", "UTF-8"), ("none", "can't be read")):
        with pytest.raises(UserError) as caught:
            load_templates("shapes", tmp_path / f"{name}.txt")
        one_line(caught, f"{name}.txt", word)


def test_a_class_name_with_braces_is_taken_as_it_is():
    assert prompts.fill("a {}.", "{x} {}") == "a {x} {}."
