"""The image modality: every kind of file in, settings fitted, one shape out; and what it refuses."""

from __future__ import annotations

import io
import zlib
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from bodh.contracts import Modality as Seam
from bodh.contracts import Shard, View
from bodh.errors import BadRecord, ConfigError, DataError
from bodh.modalities.image import ImageConfig, Modality

CPU = torch.device("cpu")


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(wide: int = 40, high: int = 30) -> Image.Image:
    y, x = np.mgrid[:high, :wide]
    return Image.fromarray(np.stack([x * 255 // wide, y * 255 // high, (x + y) * 255 // (wide + high)], 2).astype("u1"))


def source(records, splits=None):
    n = len(records)

    def read(index):
        if isinstance(records[index], Exception):
            raise records[index]
        return records[index]

    return SimpleNamespace(
        name="photos",
        ids=[f"{k}.png" for k in range(n)],
        splits=np.array(splits or ["train"] * n),
        read=read,
        __len__=lambda: n,
    )


def fitted(size=32, channels=3, **settings) -> Modality:
    return Modality(
        ImageConfig(size=size, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels, **settings)
    )


# ---------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_formats(kind, mode):
    image = gradient().convert(mode)
    row = fitted().decode(encode(image, kind))
    assert (row.shape, row.dtype) == ((30, 40, 3), np.uint8)
    far = np.abs(row.astype(int) - np.asarray(image.convert("RGB")).astype(int)).mean()
    assert far < 8  # lossy formats and palettes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_modes_become_grey_and_colour(mode):
    image = gradient().convert("L")
    if mode in {"I;16", "I"}:
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        image = image.convert("I") if mode == "I" else image
        raw = encode(image, "TIFF")
    elif mode == "F":
        raw = encode(Image.fromarray(np.asarray(image, dtype=np.float32) / 255), "TIFF")
    else:
        raw = encode(image.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    for channels in (1, 3):
        row = fitted(channels=channels).decode(raw)
        assert row.shape == (30, 40, channels)
        if mode != "1":
            expected = np.asarray(gradient().convert("L")).astype(int)
            assert np.abs(row.astype(int) - expected[:, :, None]).max() <= 3


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.paste((10, 200, 30, 255), (0, 0, 4, 8))
    row = fitted().decode(encode(clear))
    assert row[0, 0].tolist() == [10, 200, 30]
    assert row[0, 7].tolist() == [255, 255, 255]
    palette = clear.convert("P")
    assert fitted().decode(encode(palette, transparency=palette.getpixel((7, 0))))[0, 7].tolist() == [255] * 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    upright = gradient(48, 32)
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encode(upright, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(raw))).convert("RGB"))
    assert np.array_equal(fitted().decode(raw), expected)


def test_shrunk_not_enlarged_aspect_kept():
    modality = fitted(stored_size=20)
    assert modality.decode(encode(gradient(80, 40))).shape == (20, 40, 3)
    assert modality.decode(encode(gradient(12, 9))).shape == (9, 12, 3)
    assert modality.decode(encode(gradient(40, 80), "JPEG")).shape == (40, 20, 3)
    assert modality.decode(encode(gradient(3000, 20))).shape == (20, 80, 3)
    assert modality.decode(encode(gradient(1, 500))).shape == (4, 1, 3)


def test_one_pixel():
    row = fitted().decode(encode(Image.new("RGB", (1, 1), (1, 2, 3))))
    assert row.tolist() == [[[1, 2, 3]]]
    assert fitted().standardise([row]).shape == (1, 32, 32, 3)


def test_forty_megapixels():
    raw = encode(Image.new("RGB", (8000, 5000), (90, 120, 200)), "JPEG")
    row = fitted(stored_size=64).decode(raw)
    assert row.shape == (64, 102, 3)
    assert np.abs(row.astype(int) - [90, 120, 200]).max() <= 3


def png_header(wide: int, high: int) -> bytes:
    body = b"IHDR" + wide.to_bytes(4, "big") + high.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    chunk = (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk + (len(data) - 4).to_bytes(4, "big") + data + zlib.crc32(data).to_bytes(4, "big")
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty file"),
        (b"plain text that calls itself .jpg", "not an image"),
        (encode(gradient(), "JPEG")[:400], "cannot be decoded|not an image"),
        (encode(gradient())[:-60], "cannot be decoded"),
        (png_header(10_000, 10_000), "bomb"),
        (png_header(60_000, 60_000), "bomb"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (np.zeros((5, 4, 7), np.uint8), r"shape \[5, 4, 7\]"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \[0, 4, 3\]"),
        (np.full((4, 4), 7.5, np.float32), "from 7.5 to 7.5"),
        (np.full((4, 4), np.nan, np.float32), "nan"),
        (np.full((4, 4), -1, np.int64), "from -1 to -1"),
        (np.array([["a"]]), "images are numbers"),
    ],
)
def test_broken_records_give_a_reason(raw, reason):
    with pytest.raises(BadRecord, match=reason):
        fitted().decode(raw)


@pytest.mark.parametrize(
    "array",
    [
        np.full((5, 6), 51, np.uint8),
        np.full((5, 6, 1), 51, np.uint8),
        np.full((1, 5, 6), 51, np.uint8),
        np.full((3, 5, 6), 51, np.uint8),
        np.full((5, 6, 3), 0.2, np.float32),
        np.full((5, 6), 0.2, np.float64),
        np.full((5, 6), 51, np.int64),
        np.full((5, 6), 51 * 257, np.uint16),
    ],
)
def test_arrays(array):
    row = fitted().decode(array)
    assert row.shape == (5, 6, 3)
    assert (row == 51).all()


def test_bool_array():
    assert fitted(channels=1).decode(np.eye(3, dtype=bool))[:, :, 0].tolist() == (np.eye(3) * 255).tolist()


# ----------------------------------------------------------------------------------------------- fitting


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(28, 28)] * 3, 28),
        ([(8, 8)] * 3, 16),
        ([(30, 50)] * 3, 32),
        ([(64, 64)] * 3, 64),
        ([(100, 100)] * 3, 96),
        ([(20, 30), (25, 25), (28, 40)], 32),
        ([(128, 170), (128, 200), (140, 128)], 128),
        ([(600, 500), (400, 300)], 224),
    ],
)
def test_size_fits_the_data(shapes, size):
    records = [encode(gradient(wide, high)) for high, wide in shapes]
    modality = Modality.fit(source(records), ImageConfig())
    assert modality.prepared_shape == (3, size, size)
    assert modality.config.stored_size >= size


def test_grey_is_seen_also_in_colour_files():
    grey = encode(gradient().convert("L").convert("RGB"))
    assert Modality.fit(source([grey] * 3), ImageConfig()).config.channels == 1
    assert Modality.fit(source([grey, encode(gradient())]), ImageConfig()).config.channels == 3


def test_mean_and_deviation_standardise():
    rng = np.random.default_rng(0)
    records = [rng.integers(0, 200, (16, 16, 3), dtype=np.uint8) for _ in range(20)]
    modality = Modality.fit(source(records), ImageConfig())
    prepared = modality.prepare()(torch.from_numpy(modality.standardise(np.stack(records))))
    assert float(prepared.mean().abs()) < 0.01
    assert float(prepared.std()) == pytest.approx(1.0, abs=0.01)


def test_settings_win_and_only_training_records_count():
    records = [encode(gradient()), encode(Image.new("RGB", (300, 300)))]
    given = ImageConfig(size=48, channels=1, mean=(0.1,))
    modality = Modality.fit(source(records, ["train", "test"]), given)
    config = modality.config
    assert (config.size, config.channels, config.mean) == (48, 1, (0.1,))
    assert config.std[0] > 0.05
    assert Modality.fit(source(records, ["train", "test"]), ImageConfig()).config.size == 32
    again = Modality(ImageConfig.model_validate_json(config.model_dump_json()))
    assert again.config == config


def test_constant_images_have_a_deviation():
    records = [np.full((8, 8), 7, np.uint8)] * 3
    assert Modality.fit(source(records), ImageConfig()).config.std[0] > 0


def test_broken_records_are_passed_over_and_all_broken_is_told():
    good = encode(gradient())
    modality = Modality.fit(source([b"no", BadRecord("unreadable"), good]), ImageConfig())
    assert modality.config.size == 32
    with pytest.raises(DataError, match=r"none of 2 records of photos.*png: not an image"):
        Modality.fit(source([b"no", b"neither"]), ImageConfig())
    with pytest.raises(DataError, match="no training records"):
        Modality.fit(source([good], ["test"]), ImageConfig())


def test_not_fitted_is_told():
    with pytest.raises(ConfigError, match="has not seen data"):
        Modality(ImageConfig(size=32)).prepare()
    with pytest.raises(ValidationError, match="2 values for 3 channels"):
        ImageConfig(channels=3, mean=(0.1, 0.2))


def test_real_photographs(shared):
    files = sorted((shared / "clothing-small" / "train").glob("*/*.jpg"))[::100]
    modality = Modality.fit(source([file.read_bytes() for file in files]), ImageConfig())
    assert modality.prepared_shape == (3, 128, 128)
    rows = [modality.decode(file.read_bytes()) for file in files]
    assert {min(row.shape[:2]) for row in rows} == {128}
    n = len(rows)
    strong, plain = modality.views(rows, (View("strong"), View("plain")), 3, Shard(0, n, n), CPU)
    assert torch.equal(plain, modality.prepare()(torch.from_numpy(modality.standardise(rows))))
    assert abs(float(plain.mean())) < 0.2
    assert strong.shape == plain.shape
    assert not torch.equal(strong, plain)


# ------------------------------------------------------------------------------------- one shape, views, show


def test_standardise_passes_what_fits_untouched():
    rows = np.zeros((4, 32, 32, 3), np.uint8)
    assert fitted().standardise(rows) is rows


@pytest.mark.parametrize("channels", [1, 3])
def test_standardise_and_prepare_agree(channels):
    modality = fitted(24, channels)
    rows = [modality.decode(encode(gradient(wide, high))) for high, wide in ((40, 60), (70, 30), (24, 24), (10, 12))]
    together = modality.standardise(rows)
    assert together.shape == (4, 24, 24, channels)
    prepare = modality.prepare()
    for row, one in zip(rows, together, strict=True):
        inside = prepare(torch.from_numpy(row)[None])
        outside = prepare(torch.from_numpy(one)[None])
        assert float((inside - outside).abs().max()) * 0.25 < 2 / 255


def test_views_obey_seed_shard_and_settings():
    rows = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    modality = fitted(views={"flip": 0.0, "jitter": 0.0, "grey": 0.0, "crop_scale": (1.0, 1.0)})
    still, plain = modality.views(rows, (View("strong"), View("plain")), 1, Shard(0, 6, 6), CPU)
    assert float((still - plain).abs().max()) < 1e-4
    spec = (View("strong"), View("strong", {"blur": 1.0, "solarise": 0.2}), View("weak"), View("crop"))
    whole = fitted().views(rows, spec, 5, Shard(0, 6, 6), CPU)
    parts = [fitted().views(rows[a:b], spec, 5, Shard(a, b, 6), CPU) for a, b in ((0, 2), (2, 6))]
    for view, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(view, torch.cat(pieces))


def test_read_only_rows(tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).integers(0, 256, (3, 80, 90, 3), dtype=np.uint8))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for given in (rows, list(rows)):
        for view in fitted(64).views(given, (View("strong"), View("plain"), View("crop")), 1, Shard(0, 3, 3), CPU):
            assert torch.isfinite(view).all()


def test_seam():
    modality = fitted()
    assert isinstance(modality, Seam)
    assert modality.input_spec() == {"name": "image", "dtype": "uint8", "shape": ["n", 32, 32, 3]}
    assert modality.store_key() != fitted(stored_size=40).store_key()
    thumbnail = Image.open(io.BytesIO(modality.show(np.zeros((20, 40, 3), np.uint8), 64)))
    assert thumbnail.size == (64, 32)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PyTorch's exporter about itself
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("dynamic", [False, True])
def test_prepare_in_a_graph(tmp_path, dynamic):
    """Any batch; and, exported from rows of another shape, any height and width."""
    prepare = fitted(32).prepare().eval()
    n = torch.export.Dim("n")
    shapes = {0: n, 1: torch.export.Dim("h"), 2: torch.export.Dim("w")} if dynamic else {0: n}
    example = torch.zeros((3, 48, 40, 3) if dynamic else (3, 32, 32, 3), dtype=torch.uint8)
    program = torch.export.export(prepare, (example,), dynamic_shapes=(shapes,))
    path = tmp_path / "prepare.onnx"
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for high, wide in ((48, 40), (20, 33), (32, 32), (100, 100)) if dynamic else ((32, 32),):
        for count in (1, 5):
            rows = np.random.default_rng(high).integers(0, 256, (count, high, wide, 3), dtype=np.uint8)
            got = session.run(None, {session.get_inputs()[0].name: rows})[0]
            assert np.abs(got - prepare(torch.from_numpy(rows)).numpy()).max() < 1e-5
