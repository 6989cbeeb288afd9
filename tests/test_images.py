"""Images as they come: every kind and every fault, and the same vectors as open_clip's own way."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections import Counter

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import Compose

from pzsl import extract
from pzsl.datasets.reading import FileReader, open_image
from pzsl.encoders import load_encoder
from pzsl.encoders.image_warnings import Oddities, image_doubts
from pzsl.encoders.preprocessing import (
    LARGEST,
    UNFILTERED,
    Preparation,
    _middle,
    eight_bits,
    resize_and_crop,
)
from pzsl.errors import UserError
from pzsl.extraction.pipeline import encode_blocks
from pzsl.inference.embedding_blocks import embedding_blocks
from pzsl.inference.sources import find_images

KINDS = {
    "jpg": ("RGB", "L", "CMYK"),
    "png": ("RGB", "L", "LA", "RGBA", "P", "1", "I;16"),
    "webp": ("RGB", "RGBA"),
    "gif": ("P", "L"),
    "tiff": ("RGB", "L", "CMYK", "I;16"),
    "bmp": ("RGB", "L", "P"),
}
PREPARED = Preparation({"size": 64})


def drawing(size=(90, 60), seed=0):
    """A picture with smooth parts, edges and grain."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(int)
    smooth[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 2] = random.integers(0, 256, 3)
    grain = random.integers(-25, 26, smooth.shape)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def in_mode(image, mode):
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


# --- the same as open_clip -----------------------------------------------------------------------


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.sampled_from([32, 64, 224]),
    st.sampled_from(["bicubic", "bilinear"]),
    st.sampled_from(["RGB", "L", "RGBA", "CMYK", "P", "1"]),
)
@settings(max_examples=200)
@example((225, 227), 224, "bicubic", "RGB")
def test_bytes_are_those_of_open_clip_within_one_level_but_at_a_few_edges(
    size, target, interpolation, mode
):
    too_long = target**2 * max(size) / min(size) > LARGEST
    assume(not too_long or mode not in UNFILTERED)  # these are filtered, unlike open_clip's
    image = drawing(size).convert(mode)
    options = {"image_size": target, "is_train": False, "interpolation": interpolation}
    theirs = Compose(open_clip.image_transform(**options).transforms[:-2])(image)
    ours = Preparation({"size": target, "interpolation": interpolation})(image)
    assert (ours.dtype, ours.shape) == (torch.uint8, (3, target, target))
    apart = ours.int() - torch.from_numpy(np.array(theirs)).permute(2, 0, 1).int()
    # Where Pillow orders its two passes otherwise, what overshoots is clipped at another moment.
    assert apart.abs().max() <= 16 and (apart.abs() > 1).float().mean() < 0.01


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [64, [48, 80]])
def test_every_way_to_resize_is_open_clips(mode, size):
    image = drawing((200, 130))
    theirs = open_clip.image_transform(size, is_train=False, resize_mode=mode)
    pixels = Compose(theirs.transforms[:-2])(image)
    ours = Preparation({"size": size, "resize_mode": mode})(image)
    apart = ours.int() - torch.from_numpy(np.array(pixels)).permute(2, 0, 1).int()
    # Where Pillow orders its two passes otherwise, what overshoots is clipped at another moment.
    assert apart.abs().max() <= 16 and (apart.abs() > 1).float().mean() < 0.01


def cosines(encoder, images):
    """Cosine of each image's vector with the one that open_clip's own transform leads to."""
    config = encoder.identity.preprocessing
    transform = open_clip.image_transform(config["size"], False, config["mean"], config["std"])
    theirs = encoder.encode_images(torch.stack([transform(image) for image in images]))
    ours = encoder.encode_images(torch.stack([encoder.preprocess(image) for image in images]))
    return (ours * theirs).sum(dim=1)


def test_vectors_of_drawn_images_are_those_of_open_clips_transform():
    images = [drawing((70 + 37 * n, 64 + 23 * n), n) for n in range(12)]
    assert cosines(load_encoder("tiny"), images).min() >= 0.9999


def test_vectors_of_photographs_are_those_of_open_clips_transform(real_data):
    files = sorted((real_data / "images" / "cub50").rglob("*.jpg"))[::20]
    assert len(files) >= 20
    images = [open_image(file) for file in files]
    assert cosines(load_encoder("tiny"), images).min() >= 0.9999


@pytest.mark.slow
def test_vectors_of_a_large_model_are_those_of_open_clips_transform(real_data, tmp_path):
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32", pretrained=None)
    save_file(model.state_dict(), tmp_path / "random.safetensors")
    files = sorted((real_data / "images" / "cub50").rglob("*.jpg"))[::30]
    encoder = load_encoder("ViT-B-32", str(tmp_path / "random.safetensors"))
    assert cosines(encoder, [open_image(file) for file in files]).min() >= 0.9999


# --- every kind ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "mode"), [(k, mode) for k in KINDS for mode in KINDS[k]])
def test_each_kind_of_file_is_read(tmp_path, kind, mode):
    image = drawing()
    file = tmp_path / f"a picture, für dich.{kind}"
    in_mode(image, mode).save(file, **({"quality": 95} if kind in ("jpg", "webp") else {}))
    found = PREPARED(FileReader(tmp_path)(file.name)).float()
    wanted = PREPARED(image if mode in ("RGB", "RGBA", "CMYK", "P") else image.convert("L")).float()
    limit = {"1": 130, "P": 90}.get(mode, 12)  # few colours, picked pixels
    assert (found - wanted).abs().mean() < limit


def test_sixteen_bit_grey_keeps_its_shades(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    found = PREPARED(open_image(tmp_path / "ramp.png"))[0, 32].numpy()
    np.testing.assert_array_equal(found, ramp[0] >> 8)


def test_of_several_pictures_the_first_is_taken(tmp_path):
    first, second = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    for kind in ("gif", "tiff", "webp"):
        options = {"lossless": True} if kind == "webp" else {}
        file = tmp_path / f"two.{kind}"
        first.save(file, save_all=True, append_images=[second], **options)
        pixel = PREPARED(open_image(file))[:, 9, 9].tolist()
        assert pixel[0] > 250 and pixel[2] < 5, kind


def test_orientation_in_exif_is_left_as_open_clip_leaves_it(tmp_path):
    image, exif = drawing(), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image.save(tmp_path / "plain.jpg", quality=95)
    turned, plain = (PREPARED(open_image(tmp_path / f"{n}.jpg")) for n in ("turned", "plain"))
    assert torch.equal(turned, plain)


def test_the_content_tells_the_kind_not_the_name(tmp_path):
    drawing().save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert open_image(tmp_path / "x.jpg").size == (90, 60)


def test_long_names_and_strange_letters_are_read(tmp_path):
    for name in ("ü" * 100 + ".png", "two  spaces.png", "日本.png", "a'b\"c.png", "%20#?.png"):
        drawing().save(tmp_path / name)
        assert FileReader(tmp_path)(name).size == (90, 60)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_inside_the_root_are_followed_and_those_that_leave_it_are_not(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a").mkdir(parents=True)
    outside.mkdir()
    for folder in (root / "a", outside):
        drawing().save(folder / "x.png")
    (root / "b").symlink_to(root / "a")
    (root / "inside.png").symlink_to("a/x.png")
    (root / "out.png").symlink_to(outside / "x.png")
    (root / "out").symlink_to(outside)
    (tmp_path / "alias").symlink_to(root)
    for start in (root, tmp_path / "alias"):
        read = FileReader(start)
        for path in ("a/x.png", "b/x.png", "inside.png"):
            assert read(path).size == (90, 60)
        for path in ("out.png", "out/x.png", "../outside/x.png"):
            with pytest.raises(OSError, match="leads out of the root"):
                read(path)


def test_a_kind_whose_reader_runs_other_programs_is_refused(tmp_path):
    drawing().save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.jpg")
    with pytest.raises(OSError, match="cannot identify"):
        open_image(tmp_path / "x.jpg")


def bomb(width, height):
    """A PNG of a few hundred bytes that claims to be so large."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 9_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(bomb(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(Exception, match="decompression bomb"):
            open_image(tmp_path / "bomb.png")


# --- damaged files -------------------------------------------------------------------------------


def damaged(random, content):  # noqa: PLR0911
    """A file made of an image file by one of many accidents."""
    how = random.integers(8)
    if how == 0:
        return b""
    if how == 1:  # cut short
        return content[: random.integers(1, len(content))]
    if how == 2:  # another kind of file altogether
        return random.choice([b"<html>404</html>", b"PK\x03\x04", b"GIF89a", b"\xff\xd8\xff\xe0"])
    if how == 3:
        return bomb(int(random.integers(20_000, 2**31)), int(random.integers(20_000, 2**31)))
    if how == 4:  # a hole of zeros
        start = random.integers(len(content))
        return content[:start] + bytes(len(content) - start)
    if how == 5:
        return random.bytes(int(random.integers(1, 3000)))
    share = 0.001 if how == 6 else 0.05
    flipped = np.frombuffer(content, np.uint8).copy()
    hit = random.random(len(flipped)) < share
    flipped[hit] ^= random.integers(1, 256, int(hit.sum()), dtype=np.uint8)
    return flipped.tobytes()


def encode_damaged(folder, images, count):
    """Encode `count` damaged files and as many good ones; check that each has its fate."""
    random = np.random.default_rng(0)
    contents = []
    kinds = [("JPEG", "RGB"), ("PNG", "RGB"), ("WEBP", "RGB"), ("GIF", "P"), ("TIFF", "RGB")]
    kinds += [("BMP", "RGB"), ("PNG", "P"), ("JPEG", "CMYK")]
    for number, image in enumerate(images):
        kind, mode = kinds[number % len(kinds)]
        file = io.BytesIO()
        in_mode(image, mode).save(file, kind)
        contents.append(file.getvalue())
    paths, bad = [], set()
    for number in range(count):
        content = contents[number % len(contents)]
        suffix = random.choice(["jpg", "png", "gif", "webp", "tif"])
        for name, data in (("good", content), ("bad", damaged(random, content))):
            paths.append(f"{number} {name}.{suffix}")
            (folder / paths[-1]).write_bytes(data)
            if name == "bad" and not readable(folder / paths[-1]):
                bad.add(paths[-1])
    read = FileReader(folder)
    blocks = encode_blocks(
        lambda path: PREPARED(read(path)),
        lambda batch: batch.float().mean(dim=(2, 3)),
        tuple(paths),
        np.arange(len(paths)),
        size=32,
        workers=3,
    )
    rows, failed = [], {}
    for block in blocks:
        rows += block.rows.tolist()
        failed |= {failure.path: failure.reason for failure in block.failures}
        assert np.isfinite(block.features).all()
    assert set(failed) == bad and all(failed.values())
    assert [paths[row] for row in rows] == [path for path in paths if path not in bad]
    assert len(bad) > count / 3  # a decoder can't see every flipped byte


def readable(file):
    """Whether Pillow, asked plainly, gives a picture that is no bomb."""
    try:
        with Image.open(file) as image:
            return image.width * image.height <= Image.MAX_IMAGE_PIXELS and bool(
                np.asarray(image.convert("RGB")).size
            )
    except Exception:
        return False


@pytest.mark.filterwarnings("ignore")
def test_of_damaged_files_each_is_named_and_every_good_image_is_encoded(tmp_path):
    encode_damaged(tmp_path, [drawing(seed=seed) for seed in range(8)], 100)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_of_a_thousand_damaged_photographs_each_is_named(real_data, tmp_path):
    files = sorted((real_data / "images" / "cub50").rglob("*.jpg"))[::60]
    encode_damaged(tmp_path, [open_image(file) for file in files], 1000)


# --- grey of other depths, and images that are thin -----------------------------------------------

RAMP = np.clip(np.add.outer(np.arange(96), np.arange(96)) * 1.3, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "grey",
    [
        RAMP.astype(np.uint16),
        RAMP.astype(np.uint16) * 16,
        RAMP.astype(np.uint16) * 257,
        RAMP.astype(np.int32),
        RAMP.astype(np.int32) * 65537,
        RAMP.astype(np.int32) * 8388608,
        RAMP.astype(np.float32) / 255,
        RAMP.astype(np.float32),
        RAMP.astype(np.float32) * 257,
    ],
    ids=lambda grey: f"{grey.dtype}-{grey.max():g}",
)
def test_grey_of_any_depth_keeps_its_shades(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "x.tif")
    apart = PREPARED(open_image(tmp_path / "x.tif")).int() - PREPARED(Image.fromarray(RAMP)).int()
    assert apart.abs().max() <= 1


def test_grey_images_that_were_scaled_from_several_whites_are_reported(tmp_path, capsys):
    for number, brightest in enumerate([4000, 4200, 60000, 4090, 60001, 60002]):
        file = tmp_path / f"{'dark' if number % 2 else 'light'} images" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((RAMP / RAMP.max() * brightest).astype(np.uint16)).save(file)
    line = "6 grey images of integers were scaled to 8 bits from several whites, guessed from the "
    line += "largest value of each (2 from 4095, 4 from 65535)"
    extract("folder", tmp_path, model="tiny", out=tmp_path / "x.h5", workers=2, batch_size=1)
    assert capsys.readouterr().err.count(line) == 1
    blocks = embedding_blocks(find_images([tmp_path]), load_encoder("tiny"), 2, 2)
    assert sum(len(block.rows) for block in blocks(np.arange(6))) == 6
    assert capsys.readouterr().err.count(line) == 1


def test_images_that_are_encoded_lying_on_their_side_are_reported(tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(4):
        file = tmp_path / "ab"[number % 2] / f"{number}.{'png' if number == 3 else 'jpg'}"
        file.parent.mkdir(exist_ok=True)
        drawing().save(file, exif=exif if number else Image.Exif())
    line = "3 images encoded as stored, turned or mirrored, although viewers show them upright"
    extract("folder", tmp_path, model="tiny", out=tmp_path / "x.h5", workers=2, batch_size=1)
    assert capsys.readouterr().err.count(line) == 1
    blocks = embedding_blocks(find_images([tmp_path]), load_encoder("tiny"), 2, 2)
    assert sum(len(block.rows) for block in blocks(np.arange(4))) == 4
    assert capsys.readouterr().err.count(line) == 1


@pytest.fixture
def lying(tmp_path):
    """Two classes of two images each, three of which are to be turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(4):
        file = tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        drawing().save(file, exif=exif if number else Image.Exif())
    return tmp_path / "photos"


@pytest.mark.parametrize("devices", [None, ["cpu"]])
def test_images_are_reported_also_where_another_one_fails_the_command(lying, devices, capsys):
    """The command that is run then skips what is encoded already."""
    (lying / "a" / "9.jpg").write_bytes(b"junk")
    given = {"model": "tiny", "out": lying.parent / "x.h5", "devices": devices}
    with pytest.raises(UserError, match="1 of 5 images can't be read"):
        extract("folder", lying, **given)
    assert capsys.readouterr().err.count("3 images encoded as stored, turned") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("the network is gone")])
def test_images_are_reported_also_where_the_command_is_stopped(lying, error, monkeypatch, capsys):
    def stop(*given):
        raise error

    monkeypatch.setattr("pzsl.store.CacheWriter.write", stop)
    with pytest.raises((KeyboardInterrupt, UserError)):
        extract("folder", lying, model="tiny", out=lying.parent / "x.h5", workers=1)
    assert "3 images encoded as stored, turned" in capsys.readouterr().err
    blocks = embedding_blocks(find_images([lying]), load_encoder("tiny"), 2, 1)(np.arange(4))
    next(blocks)
    blocks.close()  # as `predict` does when it is stopped
    assert "images encoded as stored, turned" in capsys.readouterr().err


def test_transparent_parts_are_reported():
    clear, oddities = drawing().convert("RGBA"), Oddities()
    clear.putpixel((3, 3), (1, 2, 3, 0))
    palette = Image.new("P", (9, 9))
    palette.info["transparency"] = 0
    for image in (drawing().convert("RGBA"), clear, palette, clear.convert("LA"), drawing()):
        assert eight_bits(image, oddities) is image
    (line,) = image_doubts(oddities.counts)
    assert line.startswith("3 images with transparent parts")


@pytest.mark.parametrize("note", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"\xff" * 40])
def test_a_broken_note_about_the_orientation_is_no_fault_of_the_image(tmp_path, note):
    drawing().save(tmp_path / "x.jpg", exif=note)
    oddities = Oddities()
    assert eight_bits(open_image(tmp_path / "x.jpg"), oddities).size == drawing().size
    assert not oddities.counts


def test_grey_images_with_one_white_raise_no_doubt():
    assert not image_doubts(Counter({("integers", 65535): 9, ("floats", 1): 3}))


@pytest.mark.parametrize("value", [-1.0, 70000.0, np.nan, np.inf])
def test_grey_whose_white_can_not_be_told_is_refused(tmp_path, value):
    grey = RAMP.astype(np.float32)
    grey[3, 3] = value
    Image.fromarray(grey).save(tmp_path / "x.tif")
    with pytest.raises(OSError, match="it can't be told what is white"):
        PREPARED(open_image(tmp_path / "x.tif"))


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
@pytest.mark.parametrize("size", [(1, 65500), (65500, 1), (30, 40000)])
def test_a_thin_image_is_prepared_without_a_huge_one_on_the_way(size, mode):
    import tracemalloc

    image, wide = Image.new("RGB", size, (10, 200, 30)).convert(mode), max(size) // 2
    image.putpixel((0, wide) if size[1] > size[0] else (wide, 0), 255)
    tracemalloc.start()
    pixels = Preparation({"size": 224})(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels.shape == (3, 224, 224) and peak < 1 << 24
    with pytest.raises(OSError, match="too thin"):
        Preparation({"size": [200, 224]})(image)


def tiff(white: int) -> bytes:
    """A grey TIFF of 16 bits, uncompressed, in which 0 is white or (1) black."""
    values = (RAMP.astype("<u2") * 257).tobytes()
    height, width = RAMP.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: white, 273: 8, 277: 1, 278: height}
    entries = [struct.pack("<HHII", *(tag, 4, 1, tags[tag])) for tag in sorted(tags)]
    entries.append(struct.pack("<HHII", 279, 4, 1, len(values)))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(values)) + values + directory


def test_deep_grey_with_white_as_zero_is_not_taken_for_its_negative():
    pixels = PREPARED(open_image(io.BytesIO(tiff(1)))).int()
    assert (pixels - PREPARED(Image.fromarray(RAMP)).int()).abs().max() <= 1
    with pytest.raises(OSError, match="in which 0 is white"):
        open_image(io.BytesIO(tiff(0)))


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_scaling_a_large_grey_image_takes_little_memory_beside_it(mode):
    import tracemalloc

    image = Image.new(mode, (3_000_001, 2))
    image.putpixel((2_999_999, 1), 1)
    tracemalloc.start()
    grey = eight_bits(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grey.size == image.size and peak < 4 * 6_000_002
    assert grey.getpixel((2_999_999, 1)) == (1 if mode == "I;16" else 255)


def test_the_middle_of_a_thin_palette_image_is_all_that_is_looked_at():
    noise = np.random.default_rng(0).integers(0, 255, (3, 70_001), dtype=np.uint8)
    image = Image.fromarray(noise).convert("P")
    whole = resize_and_crop(image.convert("RGB"), 224, Image.Resampling.BICUBIC)
    pixels = Preparation({"size": 224})(image).numpy().transpose(1, 2, 0).astype(int)
    assert np.abs(pixels - np.asarray(whole)).max() <= 4  # the middle is rounded to half a pixel
    assert max(_middle(image).size) < 60
