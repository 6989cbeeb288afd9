"""Models of other families from folders and hubs: their tokenizers, lengths, scales, preparation.

Each is a small checkpoint that the test makes; each answer is held to that of the library it is of.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import canonicalize_text
from PIL import Image
from safetensors.torch import save_file

import pzsl as library
from pzsl.encoders import load_encoder
from pzsl.encoders.preprocessing_files import preprocessing_beside
from pzsl.errors import UsageError, UserError

TEXTS = ["a photo of a red fox.", "a zebra", "dogs, dogs and more dogs on a very long leash today"]
WORDS = sorted(set(" ".join(TEXTS).replace(",", "").replace(".", "").split()))
CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        "context_length": 8,
        "vocab_size": 64,
        "hf_tokenizer_name": "nobody/nothing",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    },
}
PREPARED = {
    "clip": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    "siglip": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
}


def picture(size=(90, 60), seed=0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def words_tokenizer(folder: Path, end: str = "</s>") -> None:
    """A tokenizer of whole words, saved as transformers saves one."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = {word: number for number, word in enumerate(["<pad>", end, "<unk>", *WORDS])}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, known[end])]
    )
    special = {"pad_token": "<pad>", "eos_token": end, "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)


def open_clip_folder(folder: Path, config: dict, prepared: dict) -> torch.nn.Module:
    """A folder as open_clip pushes one to the hub; returns the model."""
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": prepared})
    )
    if "hf_tokenizer_name" in config["text_cfg"]:
        words_tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model.eval()


FAMILIES = {"clip": CLIP, "siglip": SIGLIP}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_open_clip_answers_as_open_clip_does(tmp_path, family, capsys):
    folder = tmp_path / "model"
    open_clip_folder(folder, FAMILIES[family], PREPARED[family])
    name = f"local-dir:{folder}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    found = load_encoder(name)
    with torch.no_grad():
        texts = model.encode_text(tokenizer(TEXTS), normalize=True)
        images = model.encode_image(transform(picture())[None], normalize=True)
    torch.testing.assert_close(found.encode_texts(TEXTS), texts, rtol=0, atol=1e-6)
    vectors = found.encode_images(found.preprocess(picture())[None])
    assert torch.nn.functional.cosine_similarity(vectors, images).item() > 0.9999
    identity = found.identity
    assert identity.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert identity.model == name and identity.pretrained == "open_clip_model.safetensors"
    assert identity.preprocessing["mean"] == PREPARED[family]["mean"]
    assert "from open_clip_config.json" in capsys.readouterr().err
    length = FAMILIES[family]["text_cfg"]["context_length"]
    assert [line for line in found.check_texts(TEXTS) if f"longer than the {length} tokens" in line]


def test_the_bias_of_siglip_moves_no_answer(tmp_path):
    model = open_clip_folder(tmp_path / "model", SIGLIP, PREPARED["siglip"])
    found = load_encoder(f"local-dir:{tmp_path / 'model'}")
    assert model.logit_bias.item() == -10
    images = found.encode_images(found.preprocess(picture())[None])
    cosines = images @ found.encode_texts(TEXTS).T
    scale = found.identity.logit_scale
    theirs = cosines * model.logit_scale.exp().item() + model.logit_bias.item()
    torch.testing.assert_close(theirs.softmax(1), (scale * cosines).softmax(1))


def test_a_repository_of_the_hub_is_read_from_the_clients_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--owner--small" / "snapshots" / ("a" * 40)
    open_clip_folder(snapshot, CLIP, PREPARED["clip"])
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    found = load_encoder("hf-hub:owner/small")
    assert found.identity.model == "hf-hub:owner/small"
    same = load_encoder(f"local-dir:{snapshot}")
    assert found.identity.weights_hash == same.identity.weights_hash
    with pytest.raises(UserError, match=r"owner/other'.*HF_HUB_OFFLINE is set.*local-dir:FOLDER"):
        load_encoder("hf-hub:owner/other")


def transformers_clip(folder: Path) -> Path:
    """A CLIP of transformers with its own tokenizer and preparation."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    words_tokenizer(folder)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    size["num_hidden_layers"] = 1
    text = {**size, "vocab_size": 64, "eos_token_id": 1, "max_position_embeddings": 12}
    text |= {"bos_token_id": 2, "pad_token_id": 0}
    vision = {**size, "image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(
        folder
    )
    sides = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=sides).save_pretrained(folder)
    return folder


def transformers_siglip(folder: Path) -> Path:
    """A SigLIP of transformers."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    words_tokenizer(folder)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    size["num_hidden_layers"] = 1
    text = {**size, "vocab_size": 64, "max_position_embeddings": 12, "projection_size": 16}
    vision = {**size, "image_size": 32, "patch_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [transformers_clip, transformers_siglip])
def test_a_folder_of_transformers_answers_as_transformers_does(tmp_path, make):
    transformers = pytest.importorskip("transformers")
    folder = make(tmp_path / "model")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    texts = [canonicalize_text(text) for text in TEXTS] if "siglip" in make.__name__ else TEXTS
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
    )["input_ids"]
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(picture(), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        answer = model(input_ids=tokens, pixel_values=pixels)
    found = load_encoder(f"local-dir:{folder}")
    torch.testing.assert_close(found.encode_texts(TEXTS), answer.text_embeds, rtol=0, atol=1e-6)
    vectors = found.encode_images(found.preprocess(picture())[None])
    assert torch.nn.functional.cosine_similarity(vectors, answer.image_embeds).item() > 0.999
    assert found.identity.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert found.identity.dim == vectors.shape[1]


@pytest.mark.parametrize("make", [transformers_clip, transformers_siglip])
def test_a_saved_processor_prepares_images_as_an_image_processor_does(tmp_path, make):
    folder = make(tmp_path / "model")
    name, before = f"local-dir:{folder}", preprocessing_beside(folder / "model.safetensors")[0]
    images = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"doesn't say how images are prepared .*save_pretrained"):
        load_encoder(name)
    both = {"image_processor": {**images, "crop_size": images.get("crop_size")}}
    (folder / "processor_config.json").write_text(json.dumps(both))
    assert preprocessing_beside(folder / "model.safetensors")[0] == before
    assert load_encoder(name).identity.preprocessing["mean"] == images["image_mean"]


def test_the_tokenizer_of_another_model_is_reported(tmp_path):
    folder = transformers_clip(tmp_path / "model")
    config = json.loads((folder / "tokenizer.json").read_text())
    config["model"]["vocab"]["zebra"] = 64
    (folder / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match="its tokenizer gives token 64, but the text model knows 64"
    ):
        load_encoder(f"local-dir:{folder}").encode_texts(TEXTS)


def test_a_run_on_such_a_model_predicts(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    name = f"local-dir:{transformers_clip(tmp_path / 'model')}"
    for number in range(6):
        for kind in ("red fox", "zebra", "dogs"):
            file = tmp_path / "photos" / kind / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(seed=number).save(file)
    cache = tmp_path / "x.h5"
    library.extract("folder", tmp_path / "photos", model=name, out=cache)
    quick = {"epochs": 1, "min_steps": 2, "calibrate": False}
    how = {"rate": 0.0, "seeds": 1, "workers": 1, "runs": tmp_path / "runs", "settings": quick}
    (run,) = library.train(cache, method="clip", **how)["runs"]
    found = library.predict(run["path"], [tmp_path / "photos" / "zebra" / "0.png"])
    assert len(found["images"]) == 1


def test_what_is_wrong_with_a_folder_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        load_encoder(f"local-dir:{tmp_path / 'none'}")
    with pytest.raises(UserError, match=r"neither open_clip_config\.json"):
        load_encoder(f"local-dir:{tmp_path}")
    folder = tmp_path / "model"
    open_clip_folder(folder, CLIP, PREPARED["clip"])
    with pytest.raises(UsageError, match="brings its own weights, but has no 'openai'"):
        load_encoder(f"local-dir:{folder}", "openai")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no weights"):
        load_encoder(f"local-dir:{folder}")
    (folder / "open_clip_config.json").unlink()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    save_file({"x": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(UserError, match="model_type 'bert' is none of clip, siglip"):
        load_encoder(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("tower", "size", "reason"),
    [("test_vit3", 96, "doesn't match model"), ("test_vit", 100, "divisible by patch size")],
)
def test_images_of_a_size_that_the_tower_cannot_see_are_reported(tmp_path, tower, size, reason):
    vision = {**SIGLIP["vision_cfg"], "timm_model_name": tower}
    config, folder = {**SIGLIP, "vision_cfg": vision}, tmp_path / "model"
    if tower == "test_vit3":
        config["embed_dim"] = 96
    open_clip_folder(folder, config, PREPARED["siglip"])
    load_encoder(f"local-dir:{folder}")
    usual, file = vision["image_size"], folder / "open_clip_config.json"
    vision["image_size"] = size
    file.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPARED["siglip"]}))
    line = f"{file}: 'image_size' is {size}, but the images of its tower have {usual} pixels"
    with pytest.raises(UserError, match=f"{re.escape(line)}.*{reason}"):
        load_encoder(f"local-dir:{folder}")


def test_a_tower_that_takes_images_of_other_sizes_is_used_with_them(tmp_path):
    config = {**SIGLIP, "vision_cfg": {**SIGLIP["vision_cfg"], "image_size": 96}}
    open_clip_folder(tmp_path / "model", config, PREPARED["siglip"])
    found = load_encoder(f"local-dir:{tmp_path / 'model'}")
    assert found.encode_images(found.preprocess(picture())[None]).shape == (1, 64)


@pytest.mark.parametrize(
    ("file", "told", "line"),
    [
        ("open_clip_config.json", {"model_cfg": 3}, "'model_cfg' should be a JSON object"),
        ("open_clip_config.json", {"preprocess_cfg": {"mean": "x"}}, "'mean' should be three"),
        ("open_clip_config.json", {"preprocess_cfg": {"mean": [0, 0]}}, "'mean' should be three"),
        ("open_clip_config.json", {"preprocess_cfg": {"std": [0] * 3}}, "numbers above 0"),
        ("open_clip_config.json", {"preprocess_cfg": {"size": -5}}, "a number of pixels"),
        ("open_clip_config.json", {"preprocess_cfg": {"resize_mode": "x"}}, "one of shortest"),
        ("preprocessor_config.json", {"resample": 1}, "one of bicubic, .*, not 1"),
        ("preprocessor_config.json", {"resample": []}, "one of bicubic"),
        ("preprocessor_config.json", {"image_mean": 3}, "'mean' should be three"),
    ],
    ids=str,
)
def test_a_way_to_prepare_images_that_is_none_is_refused(file, told, line, tmp_path):
    (tmp_path / file).write_text(json.dumps(told))
    with pytest.raises(UserError, match=line):
        preprocessing_beside(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["", "../..", "a/b/c", "a b"])
def test_a_repository_has_an_owner_and_a_name(name):
    with pytest.raises(UsageError, match="write hf-hub:OWNER/NAME"):
        load_encoder(f"hf-hub:{name}")


def test_a_folder_or_repository_without_its_prefix_is_refused_with_how_to_give_it(tmp_path):
    with pytest.raises(UsageError, match=f"write --model local-dir:{tmp_path}"):
        load_encoder(str(tmp_path))
    with pytest.raises(UsageError, match=r"hub, write --model hf-hub:google/siglip\."):
        load_encoder("google/siglip")


def test_weights_that_are_missing_are_never_random(tmp_path):
    pytest.importorskip("transformers")
    folder = transformers_clip(tmp_path / "model")
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 tensors, the first 'visual_projection\.weight'"):
        load_encoder(f"local-dir:{folder}")


def test_texts_for_siglip_are_in_lower_case_without_punctuation_as_in_open_clip(tmp_path):
    pytest.importorskip("transformers")
    config = open_clip.get_model_config("ViT-B-16-SigLIP2")["text_cfg"]
    assert config["tokenizer_kwargs"] == {"clean": "canonicalize"}
    found = load_encoder(f"local-dir:{transformers_siglip(tmp_path / 'model')}")
    texts = found.encode_texts(["A photo of a Red_Fox.", "a photo of a red fox"])
    assert torch.equal(texts[0], texts[1])
    assert found.identity.preprocessing["clean_texts"] == "canonicalize"  # no old cache is resumed
    images = load_encoder(f"local-dir:{transformers_clip(tmp_path / 'clip')}").identity
    assert "clean_texts" not in images.preprocessing


def tuned(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model of transformers, after some training."""
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    return {
        n: value + torch.linspace(0, 1, value.numel()).view(value.shape)
        for n, value in state.items()
    }


@pytest.mark.parametrize("name", ["tuned.safetensors", "tuned.bin"])
def test_the_named_weights_of_a_folder_of_transformers_are_loaded(tmp_path, name):
    pytest.importorskip("transformers")
    folder, other = transformers_clip(tmp_path / "model"), transformers_clip(tmp_path / "other")
    state = tuned(folder)
    if name.endswith(".bin"):
        torch.save(
            {**state, "vision_model.embeddings.position_ids": torch.arange(5)}, folder / name
        )
    else:
        save_file(state, folder / name, metadata={"format": "pt"})
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    found, wanted = load_encoder(f"local-dir:{folder}", name), load_encoder(f"local-dir:{other}")
    assert found.identity.pretrained == name
    assert found.identity.weights_hash == wanted.identity.weights_hash
    assert torch.equal(found.encode_texts(TEXTS), wanted.encode_texts(TEXTS))
    del state["visual_projection.weight"]
    save_file(state, folder / "tuned.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"do not fit the model.*'visual_projection\.weight'"):
        load_encoder(f"local-dir:{folder}", "tuned.safetensors")


def test_a_split_model_of_transformers_is_loaded_by_any_of_its_parts(tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = transformers_clip(tmp_path / "model")
    whole = load_encoder(f"local-dir:{folder}").identity.weights_hash
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    part = sorted(folder.glob("model-*.safetensors"))[1].name
    assert load_encoder(f"local-dir:{folder}", part).identity.weights_hash == whole


@pytest.mark.parametrize("make", [transformers_clip, lambda f: open_clip_folder(f, CLIP, {})])
def test_weights_that_lie_elsewhere_than_the_preparation_are_refused(tmp_path, make):
    pytest.importorskip("transformers")
    folder = tmp_path / "model"
    make(folder)
    (weights,) = folder.glob("*.safetensors")
    (folder / "step").mkdir()
    shutil.copy(weights, folder / "step")
    for name in (f"step/{weights.name}", str(folder / "step" / weights.name)):
        with pytest.raises(
            UsageError, match=rf"is not directly in .*local-dir:{re.escape(str(folder / 'step'))}"
        ):
            load_encoder(f"local-dir:{folder}", name)
    assert load_encoder(f"local-dir:{folder}", str(weights)).identity.pretrained == weights.name


def beside(folder: Path, told: dict) -> dict:
    """The preparation that a configuration of transformers asks for."""
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return preprocessing_beside(folder / "model.safetensors")[0]


@pytest.mark.parametrize(
    ("told", "size", "mode"),
    [
        ({"size": 9, "crop_size": 9}, 9, "shortest"),
        ({"size": {"shortest_edge": 9}, "crop_size": {"height": 9, "width": 9}}, 9, "shortest"),
        ({"size": {"shortest_edge": 9}}, 9, "shortest"),
        ({"size": {"height": 9, "width": 9}, "crop_size": None}, 9, "squash"),
        ({"size": {"height": 9, "width": 9}, "crop_size": 9}, 9, "squash"),
        ({"size": {"height": 9, "width": 5}}, [9, 5], "squash"),
        (
            {"size": {"height": 16, "width": 16}, "crop_size": 9, "do_center_crop": False},
            16,
            "squash",
        ),
    ],
    ids=str,
)
def test_a_size_of_transformers_is_used_as_it_is_meant(tmp_path, told, size, mode):
    found = beside(tmp_path, told)
    assert (found["size"], found["resize_mode"]) == (size, mode)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"size": {"shortest_edge": 256}, "crop_size": 224}, "'size' is .*256.*'crop_size' 224"),
        ({"size": {"height": 16, "width": 16}, "crop_size": 9}, "'size' is .*16.*'crop_size' 9"),
        ({"size": {"shortest_edge": 9}, "crop_size": {"height": 9, "width": 5}}, "'crop_size'"),
        ({"size": {"shortest_edge": 9}, "do_center_crop": False}, "left uncropped"),
        ({"size": {"longest_edge": 9}}, "'size' should be a number of pixels"),
        ({"do_resize": False}, "'do_resize' is false"),
        ({"do_rescale": False}, "'do_rescale' is false"),
        ({"rescale_factor": 1 / 127.5}, "'rescale_factor' is .*, not 1/255"),
        ({"do_pad": True}, "'do_pad' is true"),
    ],
    ids=str,
)
def test_what_can_not_be_done_as_transformers_does_is_refused(tmp_path, told, line):
    with pytest.raises(UserError, match=line):
        beside(tmp_path, told)


def test_images_that_are_not_normalised_get_no_mean(tmp_path):
    told = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}
    assert beside(tmp_path, told)["mean"] == [0.5] * 3
    found = beside(tmp_path, {**told, "do_normalize": False})
    assert (found["mean"], found["std"]) == ([0.0] * 3, [1.0] * 3)
