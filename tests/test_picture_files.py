"""The picture shown for an image is its own, or none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from pzsl.inference.labelling.picture_files import OpenImage, find_pictures

IDS = ("dingo/001.png", "old/dingo/001.png", "red_fox/001.png", "red_fox/unique.png")


def pictures_of(folder: Path, *files: str, root: str = "") -> OpenImage:
    """Opens pictures below `root`, a folder of them; their widths are 1, 2, ... in turn."""
    for width, name in enumerate(files, 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, 9)).save(folder / name)
    cache = SimpleNamespace(provenance={}, dataset="photos", path="x.h5", paths=IDS)
    return find_pictures(cache, folder / root)


@pytest.mark.parametrize("root", ["", "photos", "photos/dingo"])
def test_a_name_that_recurs_in_other_classes_does_not_identify_a_picture(tmp_path, root):
    pictures = pictures_of(tmp_path, "photos/dingo/001.png", root=root)
    with pytest.raises(OSError, match=r"red_fox/001\.png: other images end in /001\.png"):
        pictures("red_fox/001.png")


def test_the_end_of_the_path_identifies_it_where_no_other_image_has_it(tmp_path):
    files = ("photos/red_fox/001.png", "elsewhere/unique.png", "photos/old/dingo/001.png")
    for root in ("", "photos/red_fox"):  # the given folder's own name counts, too
        assert pictures_of(tmp_path, *files, root=root)("red_fox/001.png").width == 1
    pictures = pictures_of(tmp_path, *files)
    assert pictures("red_fox/unique.png").width == 2
    assert pictures("old/dingo/001.png").width == 3
    with pytest.raises(OSError, match=r"other images end in /dingo/001\.png"):
        pictures("dingo/001.png")
