"""Checkpoints as trainers and other libraries write them, and what lies beside them."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pzsl.encoders import load_encoder
from pzsl.encoders.preprocessing_files import preprocessing_beside
from pzsl.encoders.transformers_layout import IN_A_LAYER, TOPS, TURNED
from pzsl.encoders.weights import read_weights, weights_hash
from pzsl.errors import UserError

MODEL = "pzsl-small"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small model that open_clip knows, with random weights."""
    config = tmp_path_factory.mktemp("config") / f"{MODEL}.json"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return open_clip.create_model(MODEL, pretrained=None).eval()


@pytest.fixture(scope="module")
def state(small):
    return dict(small.state_dict())


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def inside(state, wrapper):
    """Names as compiling or sharding the towers by themselves makes them."""
    return {name.replace("visual.", f"visual.{wrapper}", 1): value for name, value in state.items()}


def parameters(state):
    return {n: nn.Parameter(v) if v.is_floating_point() else v for n, v in state.items()}


FORMS = {
    "parameters": parameters,
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "compiled under DDP": lambda s: {"state_dict": prefixed(s, "module._orig_mod.")},
    "compiled towers": lambda s: inside(s, "_orig_mod."),
    "FSDP": lambda s: prefixed(inside(s, "_fsdp_wrapped_module."), "_fsdp_wrapped_module."),
    "Lightning": lambda s: {"state_dict": prefixed(s, "model."), "epoch": 3},
    "Lightning with a head": lambda s: {
        "state_dict": {**prefixed(s, "clip."), "head.weight": torch.zeros(3, 3)}
    },
    "model": lambda s: {"model": s, "optimizer": {"state": {}}},
    "model_state_dict": lambda s: {"model_state_dict": s, "epoch": 2},
    "two boxes": lambda s: {"model": {"state_dict": prefixed(s, "module.")}},
    "EMA": lambda s: {"state_dict_ema": s},
    "AveragedModel": lambda s: {**prefixed(s, "module."), "n_averaged": torch.tensor(7)},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_wrapped_checkpoint_holds_the_same_weights(state, tmp_path, form):
    torch.save(FORMS[form](state), tmp_path / "x.pt")
    assert weights_hash(read_weights(tmp_path / "x.pt")) == weights_hash(state)


def test_what_is_left_out_and_what_is_averaged_is_said(state, tmp_path, capsys):
    torch.save(FORMS["Lightning with a head"](state), tmp_path / "x.pt")
    read_weights(tmp_path / "x.pt")
    assert "1 tensors beside the model 'clip.' are left out" in capsys.readouterr().err
    torch.save(FORMS["EMA"](state), tmp_path / "x.pt")
    read_weights(tmp_path / "x.pt")
    assert "the averaged ones ('state_dict_ema') are taken" in capsys.readouterr().err


def test_two_models_in_one_file_are_refused(state, tmp_path):
    torch.save({**prefixed(state, "student."), **prefixed(state, "teacher.")}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"hold 2 models \(student\., teacher\.\)"):
        read_weights(tmp_path / "x.pt")


def as_transformers(state):
    """The weights as transformers' CLIPModel names them."""
    tops = {ours: theirs for theirs, ours in TOPS.items()}
    layers = {ours: theirs for theirs, ours in IN_A_LAYER.items()}
    turned = {ours: theirs for theirs, ours in TURNED.items()}
    out = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    for name, value in state.items():
        if name in turned:
            out[turned[name]] = value.T.contiguous()
        elif "resblocks" not in name:
            ours = next((o for o in tops if name == o or name.startswith(f"{o}.")), None)
            out[tops[ours] + name.removeprefix(ours) if ours else name] = value
        else:
            tower = "vision" if name.startswith("visual.") else "text"
            number, rest = name.partition("resblocks.")[2].split(".", 1)
            layer = f"{tower}_model.encoder.layers.{number}."
            if rest.startswith("attn.in_proj_"):
                for letter, part in zip("qkv", value.chunk(3), strict=True):
                    kind = rest.removeprefix("attn.in_proj_")
                    out[f"{layer}self_attn.{letter}_proj.{kind}"] = part.clone()
            else:
                ours = next(o for o in layers if rest.startswith(f"{o}."))
                out[layer + layers[ours] + rest.removeprefix(ours)] = value
    return out


def test_names_of_transformers_are_those_of_its_clip_model():
    """Some names as huggingface.co/openai/clip-vit-base-patch32 has them."""
    names = set(TOPS) | set(TURNED)
    assert {"vision_model.pre_layrnorm", "visual_projection.weight"} <= names
    assert "vision_model.embeddings.patch_embedding" in names


def test_weights_in_the_layout_of_transformers_give_the_same_vectors(small, tmp_path, capsys):
    theirs = as_transformers(small.state_dict())
    assert "text_model.encoder.layers.1.self_attn.k_proj.bias" in theirs
    assert not set(theirs) & set(small.state_dict()) - {"logit_scale"}
    save_file(theirs, tmp_path / "model.safetensors")
    found = load_encoder(MODEL, str(tmp_path / "model.safetensors"))
    assert "in the layout of transformers" in capsys.readouterr().err
    batch = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = small.encode_image(batch, normalize=True)
    torch.testing.assert_close(found.encode_images(batch), right, rtol=0, atol=1e-6)


# --- how images are prepared ---------------------------------------------------------------------

OTHER = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


def load_beside(state, folder, **files):
    save_file(state, folder / "mine.safetensors")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return load_encoder(MODEL, str(folder / "mine.safetensors"))


def test_a_configuration_of_open_clip_beside_the_file_is_taken(state, tmp_path, capsys):
    told = {"preprocess_cfg": {**OTHER, "interpolation": "bilinear"}, "model_cfg": {}}
    found = load_beside(state, tmp_path, open_clip_config=told).identity.preprocessing
    assert [found["mean"], found["std"]] == [OTHER["mean"], OTHER["std"]]
    assert found["interpolation"] == "bilinear"
    told = capsys.readouterr().err
    assert "mean (0.1, 0.2, 0.3)" in told and "from open_clip_config.json." in told


def test_a_configuration_of_transformers_beside_the_file_is_taken(state, tmp_path, capsys):
    told = {"image_mean": OTHER["mean"], "image_std": OTHER["std"], "resample": 2}
    told |= {"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 32}}
    model = {"vision_config": {"hidden_act": "quick_gelu"}}
    found = load_beside(state, tmp_path, preprocessor_config=told, config=model)
    assert found.identity.preprocessing["mean"] == OTHER["mean"]
    assert found.identity.preprocessing["interpolation"] == "bilinear"
    said = capsys.readouterr().err
    assert "trained with QuickGELU" in said
    assert "from preprocessor_config.json and config.json." in said


def test_a_size_that_the_model_does_not_take_is_refused(state, tmp_path):
    with pytest.raises(UserError, match=r"asks for images of \(64, 64\) pixels.*takes \(32, 32\)"):
        load_beside(state, tmp_path, open_clip_config={"preprocess_cfg": {"size": 64}})


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_configuration_that_is_no_json_object_is_named(tmp_path, content):
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(UserError, match=r"open_clip_config\.json"):
        preprocessing_beside(tmp_path / "x.pt")


def test_nothing_beside_the_file_says_nothing(tmp_path):
    assert preprocessing_beside(tmp_path / "x.pt") == ({}, "")
