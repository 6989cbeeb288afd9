"""Prompts: the user's over the data set's over the default; descriptions as CuPL writes them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pzsl.encoders.descriptions import (
    choose_prompts,
    encode_prompts,
    load_descriptions,
    show_prompts,
)
from pzsl.encoders.prompts import FOLDER
from pzsl.errors import UsageError, UserError
from pzsl.files import digest

CLASSES = ("Laysan Albatross", "ox", "fire lily")
TEXTS = {
    "002.Laysan_Albatross": ["A seabird with long wings.", "A  white\nbird.", "It soars."],
    "OX": ["A large animal."],
    "fire_lily": ["An orange flower.", "A flower with spots."],
}


class HashEncoder:
    """Stands for an encoder: a unit vector that follows from the text alone."""

    reads_texts = True

    def encode_texts(self, texts):
        seeds = [int(digest(text)[:8], 16) for text in texts]
        rows = np.stack([np.random.default_rng(seed).normal(size=8) for seed in seeds])
        return torch.nn.functional.normalize(torch.from_numpy(rows).float(), dim=-1)

    def check_texts(self, texts):
        return []


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cupl.json"
    path.write_text(json.dumps(TEXTS), "utf-8")
    return path


def test_sentences_are_found_by_prompt_name_or_published_name_however_they_are_spelt(file):
    sentences = load_descriptions(file, CLASSES)
    assert [len(one) for one in sentences] == [3, 1, 2]
    assert sentences[0][1] == "A white bird."


def test_a_classs_column_is_the_unit_mean_of_its_sentences(file):
    encoder = HashEncoder()
    prompts = choose_prompts("cub", CLASSES, descriptions=file)
    vectors = encode_prompts(encoder, CLASSES, prompts)
    assert vectors.shape == (3, 1, 8) and vectors.dtype == torch.float32
    for row, sentences in enumerate(prompts.sentences):
        mean = encoder.encode_texts(sentences).mean(0)
        torch.testing.assert_close(vectors[row, 0], mean / mean.norm())
    torch.testing.assert_close(vectors[1, 0], encoder.encode_texts(["A large animal."])[0])


def test_templates_that_are_given_stand_beside_the_descriptions(file, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("a photo of a {}.\na {}.\n", "utf-8")
    prompts = choose_prompts("cub", CLASSES, own, file)
    title = f"(descriptions: cupl.json, {digest(file.read_bytes())[:12]})"
    assert prompts.columns == ("a photo of a {}.", "a {}.", title)
    encoder = HashEncoder()
    vectors = encode_prompts(encoder, CLASSES, prompts)
    assert vectors.shape == (3, 3, 8)
    torch.testing.assert_close(vectors[1, 1], encoder.encode_texts(["a ox."])[0])
    torch.testing.assert_close(
        vectors[:, 2:],
        encode_prompts(encoder, CLASSES, choose_prompts("cub", CLASSES, descriptions=file)),
    )


def test_the_users_templates_beat_the_data_sets_which_beat_the_default(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("my {}\n", "utf-8")
    assert choose_prompts("cub", CLASSES, own).columns == ("my {}",)
    assert choose_prompts("cub", CLASSES).columns == ("a photo of a {}, a type of bird.",)
    assert choose_prompts("cub", CLASSES).source == str(FOLDER / "cub.txt")
    assert choose_prompts("awa2", CLASSES).source == str(FOLDER / "default.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**TEXTS, "zebra": ["x"]}, r"1 of the names are no classes of this data set: zebra"),
        ({"ox": ["x"]}, r"2 of the names are missing: Laysan Albatross, fire lily"),
        ({**TEXTS, "ox": ["x"]}, r"'ox' is described twice"),
        ({**TEXTS, "fire_lily": []}, r"'fire_lily' has no sentence"),
        ({**TEXTS, "fire_lily": "x"}, r"'fire_lily' should have a list of sentences"),
        ({**TEXTS, "fire_lily": ["x", 1]}, r"'fire_lily' should have a list of sentences"),
        ({**TEXTS, "fire_lily": [" "]}, r"'fire_lily' should have a list of sentences"),
        ([], r"should be a JSON object"),
    ],
)
def test_descriptions_that_do_not_fit_are_named(file, content, message):
    file.write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match=message) as caught:
        load_descriptions(file, CLASSES)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_json(file, tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        load_descriptions(tmp_path / "none.json", CLASSES)
    for content in (b"{", b"\xff\xfe\x00", b"[" * 100_000):
        file.write_bytes(content)
        with pytest.raises(UserError, match="are not JSON"):
            load_descriptions(file, CLASSES)


# --- pzsl prompts show ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["shapes", "folder", "table", "tar", "sun", "cub", "awa2", "apy", "flo"]
)
def test_the_prompts_of_every_data_set_can_be_shown(name):
    shown = show_prompts(name)
    assert shown["templates"] and shown["source"].endswith(".txt")
    for example in shown["examples"]:
        assert not set(example) & set("{}_+")


def test_examples_are_prompts_of_known_classes():
    assert "a photo of a pink primrose, a type of flower." in show_prompts("flo")["examples"]
    assert show_prompts("sun")["templates"] == ["a photo of a {}.", "a photo of the {}."]


def test_descriptions_are_shown_and_held_to_the_names_where_these_are_known(file):
    shown = show_prompts("cub", descriptions=file)
    assert shown["templates"][0].startswith("(descriptions: cupl.json")
    assert "A large animal." in shown["examples"]
    with pytest.raises(UserError, match="are no classes of this data set"):
        show_prompts("flo", descriptions=file)


def test_an_unknown_data_set_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'sun'"):
        show_prompts("sunn")


def test_the_command_shows_prompts():
    from typer.testing import CliRunner

    from pzsl.cli.prompts import app

    done = CliRunner().invoke(app, ["show", "cub"])
    assert done.exit_code == 0 and "a photo of a {}, a type of bird." in done.stdout
    done = CliRunner().invoke(app, ["show", "flo", "--json"])
    assert json.loads(done.stdout)["dataset"] == "flo"
