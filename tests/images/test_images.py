"""Images: decoding of all modes, refusal of damaged ones, and the decode cache."""

import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from pipeline.artifacts import tables
from pipeline.artifacts.spec import Resize
from pipeline.artifacts.tables import Index
from pipeline.core import identity, places
from pipeline.core.errors import InputError
from pipeline.core.parallel import in_parallel
from pipeline.images import decode_cache, reading
from tests.builders.index import index_of
from tests.conftest import ROOT

RED, GREEN, BLUE, WHITE, BLACK = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0),
)  # fmt: skip
# Colours in the corners, so that every rotation and flip is detected.
CORNERS = np.full((4, 6, 3), 128, np.uint8)
CORNERS[0, 0], CORNERS[0, -1], CORNERS[-1, 0] = RED, GREEN, BLUE


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(encoded: bytes) -> npt.NDArray[np.uint8]:
    image = reading.decode(encoded)
    assert image.mode == "RGB"
    array = np.asarray(image)
    assert array.dtype == np.uint8
    return array


def corners(size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.fromarray(CORNERS).resize(size, Image.Resampling.NEAREST)


# --- modes -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_an_rgb_image_is_decoded_unchanged(form: str) -> None:
    np.testing.assert_array_equal(pixels(encode(corners(), form)), CORNERS)


def test_a_jpeg_is_decoded_closely() -> None:
    grey = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    found = pixels(encode(Image.fromarray(grey), "JPEG", quality=95))
    np.testing.assert_allclose(found, grey, atol=3)


def test_a_grey_image_has_the_same_value_in_all_channels() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(grey))), expected)


def test_a_one_bit_image_is_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert pixels(encode(image)).tolist() == [[list(BLACK), list(WHITE)]]


def test_transparent_parts_become_white_and_half_transparent_ones_blend() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    found = pixels(encode(Image.fromarray(rgba)))
    assert found[0, 0].tolist() == list(RED)
    assert found[0, 1].tolist() == list(WHITE)
    np.testing.assert_allclose(found[0, 2], 127, atol=1)


def test_transparent_grey_becomes_white() -> None:
    la = np.array([[[10, 255], [10, 0]]], np.uint8)
    found = pixels(encode(Image.fromarray(la)))
    assert found.tolist() == [[[10, 10, 10], list(WHITE)]]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_colour_declared_transparent_becomes_white(mode: str) -> None:
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((1, 0), 9 if mode == "L" else (9, 9, 9))
    encoded = encode(image, transparency=9 if mode == "L" else (9, 9, 9))
    assert pixels(encoded).tolist() == [[list(BLACK), list(WHITE)]]


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    for x in range(3):
        image.putpixel((x, 0), x)
    return image


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_palette_is_looked_up(form: str) -> None:
    found = pixels(encode(palette_image(), form))
    assert found.tolist() == [[list(RED), list(GREEN), list(BLUE)]]


@pytest.mark.parametrize(
    ("form", "transparency"),
    [("PNG", 1), ("GIF", 1), ("PNG", b"\xff\x00\xff")],
    ids=["PNG index", "GIF index", "PNG a value per entry"],
)
def test_a_transparent_palette_entry_becomes_white(form: str, transparency: int | bytes) -> None:
    found = pixels(encode(palette_image(), form, transparency=transparency))
    assert found.tolist() == [[list(RED), list(WHITE), list(BLUE)]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_sixteen_bit_grey_image_is_scaled_not_clipped(form: str) -> None:
    grey = np.array([[0, 255, 257, 32768, 65280, 65535]], np.uint16)
    encoded = encode(Image.fromarray(grey), form)
    assert Image.open(io.BytesIO(encoded)).mode == "I;16"
    assert pixels(encoded)[0].tolist() == [[grey8] * 3 for grey8 in (0, 1, 1, 128, 254, 255)]


def tiff(pixels: bytes, width: int, bits: int, sample_format: int = 1, photo: int = 1) -> bytes:
    """Return a TIFF of one row of grey that Pillow cannot write itself."""
    tags = {
        256: width, 257: 1, 258: bits, 259: 1, 262: photo, 273: 134, 277: 1, 278: 1,
        279: len(pixels), 339: sample_format,
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    assert len(head) == 134
    return head + pixels


def greys(encoded: bytes) -> list[int]:
    array = pixels(encoded)
    assert (array == array[:, :, :1]).all()
    return [int(grey) for grey in array[0, :, 0]]


def test_floats_from_0_to_1_are_scaled() -> None:
    encoded = encode(Image.fromarray(np.float32([[0, 0.5, 1, 0.25]])), "TIFF")
    assert Image.open(io.BytesIO(encoded)).mode == "F"
    assert greys(encoded) == [0, 128, 255, 64]


def test_twelve_bits_are_scaled_by_their_range() -> None:
    # Two values in three bytes.
    encoded = tiff(bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x10]), 4, 12)
    assert greys(encoded) == [0, 255, 128, 1]


def test_grey_stored_with_white_as_zero_is_inverted() -> None:
    values = np.array([0, 65535, 32768], "<u2").tobytes()
    assert greys(tiff(values, 3, 16)) == [0, 255, 128]
    assert greys(tiff(values, 3, 16, photo=0)) == [255, 0, 127]


def test_a_sixteen_bit_pgm_is_scaled_by_its_maximum() -> None:
    values = np.array([0, 4095, 2048], ">u2").tobytes()
    assert greys(b"P5 3 1 4095\n" + values) == [0, 255, 128]


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (tiff(np.array([0, 4095], "<i4").tobytes(), 2, 32, 2), "from 0 to 4095, whose white value"),
        (tiff(np.array([0, 70000], "<u4").tobytes(), 2, 32), "integers of more than 16 bits"),
        (tiff(np.array([-5, 7], "<i2").tobytes(), 2, 16, 2), "with a sign, from -5 to 7"),
        (tiff(np.array([0, 255], "<f4").tobytes(), 2, 32, 3), "float values from 0 to 255; should"),
        (tiff(np.array([-0.1, 1], "<f4").tobytes(), 2, 32, 3), "float values from -0.1 to 1; shou"),
        (tiff(np.array([0, np.nan], "<f4").tobytes(), 2, 32, 3), "float values from nan to nan; s"),
        (tiff(np.array([0, np.inf], "<f4").tobytes(), 2, 32, 3), "float values from 0 to inf; sho"),
    ],
    ids=["12 bits in 32", "32 bits", "signed", "0 to 255", "below 0", "NaN", "infinite"],
)
def test_values_of_unknown_range_are_refused(encoded: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        reading.decode(encoded)


def test_an_image_is_resized_as_a_model_file_says() -> None:
    resize = Resize()
    image = Image.fromarray(np.random.RandomState(0).randint(256, size=(12, 30, 3), dtype=np.uint8))
    way = Image.Resampling[resize.interpolation.upper()]
    assert (resize.mode, resize.channels) == ("squash", image.mode)
    assert np.array_equal(reading.squeezed(image, 8), np.asarray(image.resize((8, 8), way)))


def test_strips_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rgba = np.random.RandomState(0).randint(0, 256, (37, 11, 4)).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    encoded = encode(Image.fromarray(rgba), exif=exif)
    whole = pixels(encoded)
    monkeypatch.setattr(reading, "STRIP", 50)  # four rows at a time
    np.testing.assert_array_equal(pixels(encoded), whole)


def test_a_cmyk_jpeg_has_its_colours() -> None:
    cmyk = Image.merge("CMYK", [Image.new("L", (16, 16), value) for value in (0, 255, 255, 0)])
    encoded = encode(cmyk, "JPEG", quality=95)
    assert Image.open(io.BytesIO(encoded)).mode == "CMYK"
    np.testing.assert_allclose(pixels(encoded), np.full((16, 16, 3), RED), atol=4)


# --- EXIF ------------------------------------------------------------------------------

# How a camera stores an upright image, by EXIF orientation. The comments name the sides of the
# scene that row 0 and column 0 of the stored image show.
STORED: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.swapaxes(0, 1),  # left, top
    6: lambda a: a[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda a: a[::-1].swapaxes(0, 1),  # left, bottom
}


@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](CORNERS)))
    np.testing.assert_array_equal(pixels(encode(stored, exif=exif)), CORNERS)


def test_a_jpeg_of_a_turned_camera_is_upright() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    upright = np.kron(CORNERS, np.ones((16, 16, 1), np.uint8))
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](upright)))
    found = pixels(encode(stored, "JPEG", quality=95, exif=exif, subsampling=0))
    np.testing.assert_allclose(found, upright, atol=12)


def test_a_sixteen_bit_image_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = Image.fromarray(np.array([[65535, 0, 0]], np.uint16))
    assert pixels(encode(stored, exif=exif))[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_invalid_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    np.testing.assert_array_equal(pixels(encode(corners(), exif=exif)), CORNERS)


def test_an_image_with_a_malformed_exif_tag_is_turned_upright() -> None:
    # The resolution (tag 282) is text instead of a fraction. Pillow's exif_transpose fails when
    # it writes the tag back.
    orientation = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    resolution = b"\x01\x1a\x00\x02\x00\x00\x00\x02a\x00\x00\x00"
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02" + orientation + resolution + bytes(4)
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](CORNERS)))
    np.testing.assert_array_equal(pixels(encode(stored, exif=exif)), CORNERS)


@pytest.mark.parametrize("exif", [b"Exif\x00\x00what is this", b"Exif\x00\x00MM\x00*"], ids=repr)
def test_an_image_with_unreadable_exif_is_decoded(exif: bytes) -> None:
    np.testing.assert_array_equal(pixels(encode(corners(), exif=exif)), CORNERS)


# --- refused images ------------------------------------------------------------------


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG with a header that gives a size, but without pixels."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        + b"\x00\x00\x00\x00IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    )  # fmt: skip


NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8))
JPEG = encode(NOISE, "JPEG")


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "empty file"),
        (b"these are words\n", "unknown image format"),
        (JPEG[:-200], "image file is truncated"),
        (encode(NOISE)[:500], "truncated"),
        (encode(NOISE)[:20], "Truncated File Read"),
        (png_of_size(30_000, 30_000), "30000 x 30000 pixels, more than 134,217,728"),
    ],
    ids=["no bytes", "text", "truncated JPEG", "truncated PNG", "cut header", "huge"],
)
def test_undecodable_content_is_refused(encoded: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        reading.decode(encoded)
    assert "\n" not in str(refused.value)


def test_formats_that_start_programs_or_hold_other_sizes_are_not_opened() -> None:
    for form in ("EPS", "ICO", "ICNS"):
        encoded = encode(NOISE.convert("RGB"), form)
        assert Image.open(io.BytesIO(encoded)).format == form
        with pytest.raises(ValueError, match="unknown image format"):
            reading.decode(encoded)


def test_a_jpeg_of_several_images_shows_the_first() -> None:
    encoded = encode(corners((48, 32)), "MPO", save_all=True, append_images=[NOISE])
    assert Image.open(io.BytesIO(encoded)).format == "MPO"
    assert reading.decode(encoded).size == (48, 32)
    assert reading.file_name("a", encoded) == "a.jpg"


def test_the_largest_size_is_accepted_and_one_pixel_more_is_refused() -> None:
    assert reading.MAX_PIXELS == 2**27
    with pytest.raises(ValueError, match=r"truncated|broken"):  # not because of its size
        reading.decode(png_of_size(2**13, 2**14))
    with pytest.raises(ValueError, match="8193 x 16384 pixels"):
        reading.decode(png_of_size(2**13 + 1, 2**14))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for its memory")
def test_decoding_a_transparent_image_takes_the_memory_of_two() -> None:
    # In a separate process, so that its peak memory is that of this image.
    program = """
import io
import re
from pathlib import Path
from PIL import Image
from pipeline.images import reading
buffer = io.BytesIO()
Image.new("RGBA", (4000, 4000), (9, 9, 9, 128)).save(buffer, "PNG", compress_level=1)
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()  # includes one image of 64 MB
reading.decode(buffer.getvalue())
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100_000_000


def test_images_decoded_at_the_same_time_have_a_bounded_sum_of_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_PIXELS_LEFT", reading._Budget(200))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    lock, sums, now = threading.Lock(), [], [0]

    def decode(encoded: bytes) -> tuple[int, int]:
        with reading.decoded(encoded) as image:
            pixels_here = image.width * image.height
            with lock:
                now[0] += pixels_here
                sums.append(now[0])
            time.sleep(0.002)
            with lock:
                now[0] -= pixels_here
            return image.size

    sides = [(8, 8), (20, 10), (4, 4), (14, 14)] * 5
    encoded = [encode(Image.new("RGBA", side)) for side in sides]
    assert list(in_parallel(decode, encoded, "decoding")) == sides
    assert 200 >= max(sums) >= 128  # and several are decoded at the same time


def test_a_refused_image_returns_its_pixels_to_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PIXELS_LEFT", reading._Budget(32 * 32))
    for _ in range(3):
        with pytest.raises(ValueError, match="truncated"), reading.decoded(JPEG[:-200]):
            pass
        with pytest.raises(KeyError), reading.decoded(JPEG):
            raise KeyError
    with reading.decoded(JPEG) as image:
        assert image.size == (32, 32)


def outcome(encoded: bytes) -> tuple[str, str]:
    """Return an image's mode, or the error if it was refused."""
    try:
        return reading.decode(encoded).mode, ""
    except ValueError as error:
        return "", str(error)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")  # Pillow's warning about the damage
@given(data=st.data())
def test_a_damaged_image_is_either_decoded_or_refused(data: st.DataObject) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "maker"
    form = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP"]))
    damaged = bytearray(encode(corners(), form, exif=exif))
    places = st.integers(0, len(damaged) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=5)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(damaged)))
    mode, message = outcome(bytes(damaged[:cut]))
    assert mode == "RGB" or message
    assert "\n" not in message


# --- checking the files ----------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root, and a cache folder beside it."""
    monkeypatch.setenv("SPML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPML_DATA_ROOT", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def plain(grey: int, size: tuple[int, int] = (8, 8)) -> bytes:
    return encode(Image.new("RGB", size, (grey, grey, grey)))


def test_inspect_returns_sizes_and_hashes(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "a.png").write_bytes(plain(1))
    (root / "b.png").write_bytes(plain(2, (9, 9)))
    sizes, sha256 = reading.inspect(["sub/a.png", str(root / "b.png")], verify=True)
    assert sizes.tolist() == [len(plain(1)), len(plain(2, (9, 9)))]
    assert sha256 == [
        hashlib.sha256(plain(1)).hexdigest(),
        hashlib.sha256(plain(2, (9, 9))).hexdigest(),
    ]
    other_sizes, other_sha256 = reading.fingerprints([plain(1), plain(2, (9, 9))])
    assert (other_sizes.tolist(), other_sha256) == (sizes.tolist(), sha256)


def test_inspect_logs_the_verified_images(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "a.png").write_bytes(plain(1, (30, 4)))
    (root / "b.png").write_bytes(plain(2, (9, 9)))
    with caplog.at_level("INFO", "pipeline"):
        reading.inspect(["a.png", "b.png"], verify=True)
    assert caplog.messages == [
        "all 2 image files decode: 0.0 MB, from 9 x 9 to 30 x 4 pixels",
    ]


def test_one_warning_names_the_images_of_twelve_bits_in_sixteen(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dim = encode(Image.fromarray(np.uint16([[0, 4095], [7, 3000]])))
    bright = encode(Image.fromarray(np.uint16([[0, 65000]])))
    black = encode(Image.fromarray(np.uint16([[0, 0]])))
    files = {"b.png": dim, "a.png": dim, "c.png": bright, "d.png": black, "e.png": plain(3)}
    for name, content in files.items():
        (root / name).write_bytes(content)
    reading.inspect(list(files), verify=True)
    reading.verify(list(files), list(files.values()), "table")
    message = (
        "2 of 5 images use at most a sixteenth of their 16-bit range and are nearly black (12 bits "
        "in 16?); should be scaled to 16 bits, or have 8 bits: a.png, b.png"
    )
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{root}: {message}", f"table: {message}"]


def test_unverified_files_are_hashed_and_not_decoded(root: Path) -> None:
    (root / "a.png").write_bytes(b"not an image")
    sizes, sha256 = reading.inspect(["a.png"], verify=False)
    assert (sizes.tolist(), sha256) == ([12], [hashlib.sha256(b"not an image").hexdigest()])


def inspect_refusal(root: Path, paths: list[str], verify: bool = True) -> str:
    with pytest.raises(InputError) as refused:
        reading.inspect(paths, verify)
    message = str(refused.value)
    assert message.startswith(f"{root}: ")
    assert "\n" not in message
    return message.removeprefix(f"{root}: ")


def test_every_missing_file_is_named(root: Path) -> None:
    (root / "b.png").write_bytes(plain(1))
    message = inspect_refusal(root, ["a.png", "b.png", "c.png"])
    assert message == ("2 of 3 images cannot be read: a.png (no such file), c.png (no such file)")


def test_without_verification_a_warning_names_missing_files(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "b.png").write_bytes(plain(1))
    sizes, sha256 = reading.inspect(["a.png", "b.png", "sub/c.png"], verify=False)
    assert caplog.messages == [f"{root}: 2 of 3 images are missing: a.png, sub/c.png"]
    assert sizes.tolist() == [-1, len(plain(1)), -1]
    assert sha256 == [None, hashlib.sha256(plain(1)).hexdigest(), None]


def test_a_folder_in_place_of_a_file_is_refused_without_verification(root: Path) -> None:
    (root / "a.png").mkdir()
    (root / "file").touch()
    assert inspect_refusal(root, ["a.png", "file/b.png", "c.png"], verify=False) == (
        "2 of 3 images cannot be read: a.png (Is a directory), file/b.png (Not a directory)"
    )


def test_an_image_that_appeared_after_prepare_is_accepted(root: Path) -> None:
    sizes, sha256 = reading.inspect(["a.png"], verify=False)
    index = index_of_paths(["a.png"], sizes.tolist(), sha256)
    assert load_refusal(index, root) == "1 of 1 images cannot be read: a.png (no such file)"
    (root / "a.png").write_bytes(plain(7))
    assert decode_cache.load(index, rows(0), 8).tolist() == np.full((1, 8, 8, 3), 7).tolist()


def test_of_many_missing_files_ten_are_named_and_the_rest_counted(root: Path) -> None:
    paths = [f"{number:02d}.png" for number in range(12)]
    message = inspect_refusal(root, paths)
    named = ", ".join(f"{path} (no such file)" for path in paths[:10])
    assert message == f"12 of 12 images cannot be read: {named} and 2 more"


def test_images_that_cannot_be_decoded_are_named_with_the_reason(root: Path) -> None:
    (root / "empty.jpg").touch()
    (root / "folder.jpg").mkdir()
    (root / "good.png").write_bytes(plain(1))
    (root / "huge.png").write_bytes(png_of_size(30_000, 30_000))
    (root / "text.jpg").write_text("words")
    (root / "truncated.jpg").write_bytes(JPEG[:-200])
    message = inspect_refusal(root, sorted(path.name for path in root.iterdir()))
    assert message.startswith("5 of 6 images cannot be read: empty.jpg (empty file), folder.jpg")
    assert "huge.png (30000 x 30000 pixels, more than 134,217,728)" in message
    assert "text.jpg (unknown image format)" in message
    assert "truncated.jpg (image file is truncated" in message


def test_the_data_root_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for unset in (lambda: monkeypatch.delenv("SPML_DATA_ROOT", raising=False),
                  lambda: monkeypatch.setenv("SPML_DATA_ROOT", "")):  # fmt: skip
        unset()
        with pytest.raises(InputError) as refused:
            places.data_root("the index")
        assert str(refused.value) == (
            "SPML_DATA_ROOT is not set, but the index needs it: "
            "export SPML_DATA_ROOT=/the/folder/that/holds/the/images"
        )


def test_the_data_root_must_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in (file, tmp_path / "nowhere"):
        monkeypatch.setenv("SPML_DATA_ROOT", str(place))
        with pytest.raises(InputError) as refused:
            places.data_root("the index")
        expected = f"SPML_DATA_ROOT = {str(place)!r}: should be a folder that exists"
        assert str(refused.value) == expected


# --- all images of a stage -----------------------------------------------------------


def index_of_paths(paths: list[str | None], sizes: list[int], sha256: list[str | None]) -> Index:
    n = len(paths)
    about = {"paths": paths, "sizes": np.array(sizes, np.int64), "sha256": sha256}
    ids = [f"id{row}" for row in range(n)]
    return index_of(["train"] * n, np.zeros((n, 2)), image_ids=ids, **about)


def index_of_files(root: Path, images: dict[str, bytes], verify: bool = True) -> Index:
    for name, encoded in images.items():
        (root / name).write_bytes(encoded)
    sizes, sha256 = reading.inspect(list(images), verify)
    return index_of_paths(list(images), sizes.tolist(), sha256)


def rows(*numbers: int) -> npt.NDArray[np.int64]:
    return np.array(numbers, np.int64)


def kept(root: Path) -> list[Path]:
    return [path for path in (root.parent / "cache").rglob("*") if path.is_file()]


def test_images_are_loaded_in_the_order_of_the_rows(root: Path) -> None:
    index = index_of_files(root, {f"{grey}.png": plain(grey) for grey in (10, 20, 30)})
    images = decode_cache.load(index, rows(2, 0), 8)
    assert images.shape == (2, 8, 8, 3)
    assert images.dtype == np.uint8
    assert not images.flags.writeable
    assert (images[0] == 30).all()
    assert (images[1] == 10).all()


def test_for_each_passes_positions_and_unscaled_images(root: Path) -> None:
    wide = Image.new("L", (64, 8), 200)
    index = index_of_files(root, {"a.png": plain(10), "b.png": plain(20), "c.png": encode(wide)})
    given = {}
    decode_cache.for_each(index, rows(2, 0), given.__setitem__)
    assert {place: (p.mode, p.size) for place, p in given.items()}[0] == ("RGB", (64, 8))
    assert np.asarray(given[0]).max() == 200
    assert np.asarray(given[1]).max() == 10
    assert not kept(root)


def test_the_whole_image_is_resized_to_the_square(root: Path) -> None:
    wide = np.zeros((8, 64, 3), np.uint8)
    wide[:, :32], wide[:, 32:] = RED, BLUE
    index = index_of_files(root, {"wide.png": encode(Image.fromarray(wide))})
    (image,) = decode_cache.load(index, rows(0), 16)
    np.testing.assert_array_equal(image[:, :7], np.broadcast_to(RED, (16, 7, 3)))
    np.testing.assert_array_equal(image[:, 9:], np.broadcast_to(BLUE, (16, 7, 3)))


def test_an_image_of_the_right_size_is_unchanged(root: Path) -> None:
    index = index_of_files(root, {"a.png": encode(NOISE)})
    (image,) = decode_cache.load(index, rows(0), 32)
    np.testing.assert_array_equal(image, np.asarray(NOISE))


def test_images_are_decoded_once_and_then_read_from_the_cache(root: Path) -> None:
    index = index_of_files(root, {"a.png": plain(10), "b.png": plain(20)})
    first = np.array(decode_cache.load(index, rows(0, 1), 8))
    (file,) = kept(root)
    written = file.stat().st_mtime_ns
    for path in root.iterdir():
        path.unlink()
    np.testing.assert_array_equal(decode_cache.load(index, rows(0, 1), 8), first)
    assert [path.stat().st_mtime_ns for path in kept(root)] == [written]


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "not verified"])
def test_other_rows_sizes_and_images_have_their_own_arrays(root: Path, verify: bool) -> None:
    index = index_of_files(root, {"a.png": plain(10), "b.png": plain(20)}, verify)
    other = index_of_files(root, {"a.png": plain(10), "c.png": plain(30)}, verify)
    for given_index, given_rows, size, greys in [
        (index, rows(0, 1), 8, [10, 20]),
        (index, rows(1, 0), 8, [20, 10]),
        (index, rows(0), 8, [10]),
        (index, rows(0, 1), 4, [10, 20]),
        (other, rows(0, 1), 8, [10, 30]),
    ]:
        images = decode_cache.load(given_index, given_rows, size)
        assert images.shape == (len(greys), size, size, 3)
        assert images[:, 0, 0, 0].tolist() == greys
    assert len(kept(root)) == 5


def test_images_without_a_file_come_from_images_parquet(root: Path) -> None:
    encoded = [plain(10), plain(20), plain(30)]
    path = root.parent / "images.parquet"
    tables.write_images(path, ["id2", "id1", "id0"], encoded[::-1])
    sizes, sha256 = reading.fingerprints(encoded)
    index = replace(index_of_paths([None] * 3, sizes.tolist(), sha256), images=path)
    images = decode_cache.load(index, rows(0, 2), 8)
    assert images[:, 0, 0, 0].tolist() == [10, 30]


def load_refusal(index: Index, where: Path) -> str:
    with pytest.raises(InputError) as refused:
        decode_cache.load(index, np.arange(len(index.image_ids)), 8)
    message = str(refused.value)
    assert message.startswith(f"{where}: ")
    assert "\n" not in message
    return message.removeprefix(f"{where}: ")


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "not verified"])
def test_a_file_that_changed_since_prepare_is_refused(root: Path, verify: bool) -> None:
    index = index_of_files(root, {"a.png": plain(10), "b.png": plain(20)}, verify)
    (root / "b.png").write_bytes(plain(20) + b"more")
    message = load_refusal(index, root)
    assert message == (
        "1 of 2 images cannot be read: b.png (has changed since prepare: run `dvc repro`)"
    )
    assert kept(root) == []


def test_a_changed_file_of_the_same_size_is_refused_by_its_hash(
    root: Path,
) -> None:
    assert len(plain(10)) == len(plain(20))
    index = index_of_files(root, {"a.png": plain(10)})
    (root / "a.png").write_bytes(plain(20))
    assert "a.png (has changed since prepare" in load_refusal(index, root)


def test_a_failure_names_the_files_and_leaves_nothing_in_the_cache(root: Path) -> None:
    index = index_of_files(root, {f"{number}.png": plain(number) for number in range(13)})
    for number in range(1, 13):
        (root / f"{number}.png").unlink()
    message = load_refusal(index, root)
    assert message.startswith("12 of 13 images cannot be read: 1.png (no such file), 2.png")
    assert message.endswith("10.png (no such file) and 2 more")
    assert kept(root) == []
    with pytest.raises(InputError):  # a second call fails, too
        decode_cache.load(index, np.arange(13), 8)


def test_an_unverified_damaged_image_is_refused_when_it_is_decoded(root: Path) -> None:
    index = index_of_files(root, {"a.png": b"words"}, verify=False)
    message = load_refusal(index, root)
    assert message == "1 of 1 images cannot be read: a.png (unknown image format)"
    assert kept(root) == []


def test_an_index_without_its_images_parquet_is_refused(root: Path) -> None:
    missing = root.parent / "images.parquet"
    index = replace(index_of_paths([None], [-1], [None]), images=missing)
    assert load_refusal(index, missing) == "no such file; run the stage prepare first"
    tables.write_images(missing, ["other"], [plain(1)])
    assert load_refusal(index, missing) == "has no image 'id0'; run prepare again"
    assert kept(root) == []


def test_the_cache_is_in_the_working_folder_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SPML_CACHE", raising=False)
    assert places.cache_folder() == Path(".cache")
    monkeypatch.setenv("SPML_CACHE", "/elsewhere")
    assert places.cache_folder() == Path("/elsewhere")


def test_images_that_do_not_fit_on_the_disk_are_refused_before_they_are_decoded(
    root: Path,
) -> None:
    index = index_of_files(root, {"a.png": plain(10)})
    with pytest.raises(InputError, match=r"images: no space left for .*npy: 243,000.0 GB are"):
        decode_cache.load(index, rows(0), 9_000_000)
    assert kept(root) == []


def test_the_name_of_an_array_depends_on_the_decoding_code(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_of_files(root, {"a.png": plain(7)})
    before = decode_cache.key(index, rows(0), 8)
    assert decode_cache.key(index, rows(0), 8) == before
    monkeypatch.setattr(identity, "_code_digest", lambda module: f"another {module}")
    assert decode_cache.key(index, rows(0), 8) != before


def test_verified_and_unverified_images_share_an_array(root: Path) -> None:
    images = {f"{grey}.png": plain(grey) for grey in (10, 20)}
    keys = {
        decode_cache.key(index_of_files(root, images, verify), rows(0, 1), 8)
        for verify in (True, False)
    }
    assert len(keys) == 1


def test_an_image_that_appeared_late_is_identified_by_its_content(root: Path) -> None:
    index = index_of_paths(["a.png"], [-1], [None])
    keys = []
    for grey in (1, 2, 1):
        (root / "a.png").write_bytes(plain(grey))
        os.utime(root / "a.png", (1, 1))
        keys.append(decode_cache.key(index, rows(0), 8))
    assert keys[0] == keys[2] != keys[1]
