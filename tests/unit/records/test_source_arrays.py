from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from bodh.errors import DataError, UnknownName
from bodh.records.open import open_source

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)


def test_pictures_in_memory():
    source = open_source((PICTURES, ["a", "b", "a", "b", "a", ""]))
    assert (source.modality, len(source), source.class_names) == ("image", 6, ("a", "b"))
    assert np.array_equal(source.read(3), PICTURES[3])
    assert source.targets is not None
    assert source.targets.tolist() == [0, 1, 0, 1, 0, -1]


def test_the_fingerprint_follows_the_bytes():
    changed = PICTURES.copy()
    changed[5, 4, 6, 2] += 1
    prints = [open_source(array).fingerprint for array in (PICTURES, PICTURES.copy(), changed, PICTURES[:5])]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_channels_that_come_first_are_moved():
    assert np.array_equal(open_source(PICTURES.transpose(0, 3, 1, 2)).read(1), PICTURES[1])


def test_vectors_and_pictures_are_told_apart():
    assert open_source(np.zeros((4, 7), np.float32)).modality == "vector"
    assert open_source(np.zeros((4, 7, 7), np.uint8)).modality == "image"
    assert open_source(np.zeros((4, 7, 7, 3), np.float32)).modality == "image"
    flat = open_source(np.zeros((4, 7, 7), np.float32), modality="vector")
    assert (flat.modality, flat.read(0).shape) == ("vector", (49,))


def test_a_list_of_pictures_of_different_sizes():
    source = open_source([PICTURES[0], PICTURES[1][:3]])
    assert [source.read(i).shape for i in (0, 1)] == [(5, 7, 3), (3, 7, 3)]
    assert len(open_source(list(PICTURES))) == 6


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((5, 6, 128), np.float32), r"float32 of shape \(5, 6, 128\): images or something else"),
        (np.zeros((5, 6, 7, 9), np.uint8), "no channel axis"),
        (np.array([["a"]]), "array of <U1"),
        (np.array([[None]]), "array of object"),
        ((PICTURES, [0, 1]), "6 records but 2 labels"),
        ((PICTURES, [0], [1]), "a tuple of 3"),
        ([np.zeros((3, 3)), np.zeros((4, 3))], "record 0 of the list is float64"),
        (np.zeros((0, 5, 5), np.uint8), "holds no records"),
        (7, "data of type int"),
    ],
)
def test_arrays_that_are_no_records_are_told(array: object, said: str):
    with pytest.raises(DataError, match=said):
        open_source(array)


def test_npy(tmp_path: Path):
    np.save(tmp_path / "x.npy", PICTURES)
    source = open_source(tmp_path / "x.npy")
    assert np.array_equal(source.read(5), PICTURES[5])
    assert source.ids[5] == "x.npy:5"
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"cannot read 'bad.npy'"):
        open_source(tmp_path / "bad.npy")


def test_python_objects_are_never_loaded(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", X=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match="holds Python objects, which bodh never loads"):
            open_source(tmp_path / name)


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "labels_train", "X_test", "labels_test"),
    ],
)
def test_npz_with_parts(tmp_path: Path, keys: tuple[str, str, str, str]):
    np.savez(
        tmp_path / "x.npz",
        **dict(zip(keys, (PICTURES[:4], [[1], [0], [1], [2]], PICTURES[4:], [[0], [2]]), strict=True)),
    )
    source = open_source(tmp_path / "x.npz")
    assert source.splits.tolist() == ["train"] * 4 + ["test"] * 2
    assert source.targets is not None
    assert source.targets.tolist() == [1, 0, 1, 2, 0, 2]
    assert source.ids[4] == f"x.npz/{keys[2]}:0"
    assert np.array_equal(source.read(4), PICTURES[4])


def test_npz_keys_can_be_chosen_or_are_asked_for(tmp_path: Path):
    np.savez(tmp_path / "x.npz", a=PICTURES, b=[0, 1] * 3)
    with pytest.raises(DataError, match="it has: a, b; choose with input=NAME and label=NAME"):
        open_source(tmp_path / "x.npz")
    assert open_source(tmp_path / "x.npz", input="a", label="b").class_names == ("0", "1")
    with pytest.raises(DataError, match="no array input='c'; it has: a, b"):
        open_source(tmp_path / "x.npz", input="c")
    np.savez(tmp_path / "y.npz", only=PICTURES)
    assert len(open_source(tmp_path / "y.npz")) == 6


def write_idx(path: Path, array: np.ndarray, *, cut: int = 0) -> None:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    data = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
    data = data[: len(data) - cut]
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inner", ["", "raw", "MNIST/raw"])
def test_idx(tmp_path: Path, suffix: str, inner: str):
    folder = tmp_path / inner
    folder.mkdir(parents=True, exist_ok=True)
    grey = PICTURES[..., 0].copy()
    write_idx(folder / f"train-images-idx3-ubyte{suffix}", grey[:4])
    write_idx(folder / f"train-labels-idx1-ubyte{suffix}", np.array([3, 1, 3, 1], np.uint8))
    write_idx(folder / f"t10k-images-idx3-ubyte{suffix}", grey[4:])
    write_idx(folder / f"t10k-labels-idx1-ubyte{suffix}", np.array([1, 3], np.uint8))
    source = open_source(tmp_path)
    assert source.splits.tolist() == ["train"] * 4 + ["test"] * 2
    assert source.class_names == ("1", "3")
    assert np.array_equal(source.read(5), grey[5])
    one = open_source(folder / f"t10k-images-idx3-ubyte{suffix}")
    assert one.targets is not None
    assert one.targets.tolist() == [0, 1]


def test_idx_that_is_damaged_is_told(tmp_path: Path):
    grey = PICTURES[..., 0].copy()
    images = tmp_path / "train-images-idx3-ubyte"
    write_idx(images, grey, cut=5)
    with pytest.raises(DataError, match=r"cut short: 205 bytes for shape \(6, 5, 7\)"):
        open_source(tmp_path).read(0)
    images.write_bytes(gzip.compress(images.read_bytes())[:-12])
    with pytest.raises(DataError, match="damaged or cut short"):
        open_source(tmp_path).read(0)
    images.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="is no idx file of unsigned bytes"):
        open_source(tmp_path)
    write_idx(images, grey)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(5, np.uint8))
    with pytest.raises(DataError, match=r"has 6 images, but 'train-labels-idx1-ubyte' has labels of shape \(5,\)"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="holds labels; give the file of images"):
        open_source(tmp_path / "train-labels-idx1-ubyte")


def test_the_real_idx_files(shared: Path):
    source = open_source(shared / "mnist")
    assert len(source) == 70_000
    assert source.targets is not None
    assert source.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(source.targets[source.splits == "test"])[0] == 980
    fashion = open_source(shared / "fashion-mnist-mini")
    assert fashion.class_names[0] == "T-shirt/top"


def test_sets_that_ship_with_scikit_learn():
    digits = open_source("sklearn:digits")
    assert (digits.modality, len(digits), digits.read(0).dtype, digits.read(0).max()) == ("image", 1797, np.uint8, 239)
    assert open_source("sklearn:digits", modality="vector").read(0).shape == (64,)
    assert open_source("sklearn:iris").class_names == ("setosa", "versicolor", "virginica")
    with pytest.raises(
        UnknownName, match=r"'digit' \(did you mean 'digits'\?\); there are: breast_cancer, digits, iris, wine"
    ):
        open_source("sklearn:digit")


def test_torchvision_reads_files_that_lie_in_its_folder(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BODH_CACHE", str(tmp_path))
    raw = tmp_path / "torchvision" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (shared / "fashion-mnist-mini").glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    source = open_source("torchvision:fashionmnist")
    assert len(source) == 900
    assert int((source.splits == "test").sum()) == 200
    assert source.class_names[-1] == "Ankle boot"
    plain = open_source(shared / "fashion-mnist-mini")
    assert np.array_equal(source.read(899), plain.read(899))
    assert source.targets is not None
    assert plain.targets is not None
    assert np.array_equal(source.targets, plain.targets)


def test_torchvision_without_files_and_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BODH_CACHE", str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    from bodh import _optional

    _optional.torchvision()
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(DataError, match=r"'torchvision:CIFAR10' .* cannot be downloaded: Network is unreachable"):
        open_source("torchvision:CIFAR10")
    with pytest.raises(UnknownName, match=r"no torchvision data set named 'CIFAR11' \(did you mean 'CIFAR10'\?\)"):
        open_source("torchvision:CIFAR11")


def test_paths_and_names_that_lead_nowhere_are_told(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"no such file or folder: '.*photo' \(did you mean 'photos'\?\)"):
        open_source(tmp_path / "photo")
    with pytest.raises(DataError, match=r"the last folder of it that exists is"):
        open_source(tmp_path / "a" / "b")
    with pytest.raises(
        DataError, match=r"no name that bodh knows: 'hf:ag_news'; names are: sklearn:NAME, torchvision:NAME"
    ):
        open_source("hf:ag_news")
    with pytest.raises(DataError, match="empty string"):
        open_source(" ")
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(DataError, match="is a link to 'gone', which is not there"):
        open_source(tmp_path / "link")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop"):
        open_source(tmp_path / "loop")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("photo.jpg", "is a single image; give the folder it lies in"),
        ("x.zip", "is packed; unpack it"),
        ("x.docx", r"no data that bodh can read \(\.docx\)"),
    ],
)
def test_single_files_that_are_no_data_are_told(tmp_path: Path, name: str, said: str):
    (tmp_path / name).write_bytes(b"?")
    with pytest.raises(DataError, match=said):
        open_source(tmp_path / name)


def test_a_source_is_a_source():
    source = open_source(PICTURES)
    assert open_source(source) is source
