from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bodh.errors import BodhError, DataError, OutputError
from bodh.records import cache, pack
from bodh.records.open import open_source
from bodh.records.store import DiskStore, open_store
from bodh.records.stream import StreamStore
from tests.unit.records.fake_modality import FakeImages
from tests.unit.records.samples import fill, picture

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos", [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(20)])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def stores(kept: Path) -> list[str]:
    return sorted(path.name for path in (kept / "stores").iterdir() if path.is_dir())


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_records_are_what_decoding_gives(photos: Path, kept: Path, workers: int):
    source = open_source(photos)
    seen: list[tuple[int, int]] = []
    store = open_store(source, FakeImages(), cache=kept, workers=workers, progress=lambda *done: seen.append(done))
    assert isinstance(store, DiskStore)
    assert store.shape == (10, 12, 3)
    assert np.array_equal(store.rows(np.arange(40)), np.stack([picture(i) for i in range(40)]))
    assert np.array_equal(store.rows(np.array([7, 7, 0])), np.stack([picture(i) for i in (7, 7, 0)]))
    assert list(store.ids) == list(source.ids)
    assert store.targets is not None
    assert store.targets.tolist() == [0] * 20 + [1] * 20
    assert (store.class_names, store.fingerprint, store.skipped) == (("cat", "dog"), source.fingerprint, [])
    assert seen[-1] == (40, 40)
    assert seen == sorted(seen)


def test_the_bytes_do_not_depend_on_the_number_of_workers(photos: Path, tmp_path: Path):
    fill(photos, [f"bird/{i}.png" for i in range(9)], first=100, width=9, height=30)
    data = []
    for workers in (0, 1, 3):
        store = open_store(open_source(photos), FakeImages(), cache=tmp_path / str(workers), workers=workers)
        assert store.folder is not None
        data.append((store.folder / "data.bin").read_bytes())
    assert data[0] == data[1] == data[2]


def test_records_of_different_shapes(photos: Path, kept: Path):
    fill(photos, [f"tall/{i}.png" for i in range(5)], first=60, width=3, height=31)
    store = open_store(open_source(photos), FakeImages(), cache=kept)
    assert store.shape is None
    rows = store.rows(np.array([44, 0, 40]))
    assert isinstance(rows, list)
    assert all(
        np.array_equal(row, wanted)
        for row, wanted in zip(
            rows, [picture(64, width=3, height=31), picture(0), picture(60, width=3, height=31)], strict=True
        )
    )
    assert all(row.flags.writeable for row in rows)


def test_what_was_decoded_is_found_again_and_nothing_is_decoded_twice(photos: Path, kept: Path):
    first = open_store(open_source(photos), FakeImages(), cache=kept)

    class Never(FakeImages):
        def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
            pytest.fail(f"{raw[:4]!r} was decoded again")

    again = open_store(open_source(photos), Never(), cache=kept)
    assert again.folder == first.folder
    assert np.array_equal(again.rows(np.arange(40)), first.rows(np.arange(40)))


def test_changed_data_and_changed_settings_are_decoded_anew(photos: Path, kept: Path):
    open_store(open_source(photos), FakeImages(), cache=kept)
    small = open_store(open_source(photos), FakeImages(side=4), cache=kept)
    assert small.shape == (4, 4, 3)
    fill(photos, ["cat/0.png"], first=99)
    changed = open_store(open_source(photos), FakeImages(), cache=kept)
    assert np.array_equal(changed.rows(np.array([0]))[0], picture(99))
    assert len(stores(kept)) == 3


def test_refresh_decodes_again(photos: Path, kept: Path):
    store = open_store(open_source(photos), FakeImages(), cache=kept)
    assert store.folder is not None
    before = (store.folder / "manifest.json").stat().st_ino
    again = open_store(open_source(photos), FakeImages(), cache=kept, refresh=True)
    assert again.folder is not None
    assert (again.folder / "manifest.json").stat().st_ino != before
    assert len(stores(kept)) == 1


def test_a_damaged_store_is_made_again(photos: Path, kept: Path, caplog: pytest.LogCaptureFixture):
    store = open_store(open_source(photos), FakeImages(), cache=kept)
    assert store.folder is not None
    del store
    folder = next(path for path in (kept / "stores").iterdir() if path.is_dir())
    with (folder / "data.bin").open("ab") as file:
        file.truncate(100)
    again = open_store(open_source(photos), FakeImages(), cache=kept)
    assert np.array_equal(again.rows(np.arange(40))[39], picture(39))
    assert "is damaged and is made again" in caplog.text


def test_a_store_can_be_sent_to_another_process(photos: Path, kept: Path):
    store = open_store(open_source(photos), FakeImages(), cache=kept)
    data = pickle.dumps(store)
    assert len(data) < 10_000
    assert np.array_equal(pickle.loads(data).rows(np.array([3])), store.rows(np.array([3])))


def test_many_threads_may_read(photos: Path, kept: Path):
    store = open_store(open_source(photos), FakeImages(), cache=kept)
    wrong: list[int] = []

    def read(seed: int) -> None:
        for index in np.random.default_rng(seed).integers(0, 40, (200, 5)):
            rows = store.rows(index)
            wrong.extend(int(i) for i, row in zip(index, rows, strict=True) if not np.array_equal(row, expected[i]))

    expected = store.rows(np.arange(40)).copy()
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ------------------------------------------------------------------------------------------- broken records


def test_broken_records_are_left_out_and_listed(photos: Path, kept: Path):
    (photos / "cat" / "5.png").write_text("this is no picture", encoding="utf-8")
    (photos / "dog" / "बिगड़ा, सच में.png").write_bytes(b"")
    store = open_store(open_source(photos), FakeImages(), cache=kept, workers=2)
    assert len(store) == 39
    assert store.skipped[0][0] == "cat/5.png"
    assert "cannot identify image" in store.skipped[0][1]
    assert store.skipped[1] == ("dog/बिगड़ा, सच में.png", "the file is empty")
    assert store.targets is not None
    assert store.targets.tolist() == [0] * 19 + [1] * 20
    assert store.ids[5] == "cat/6.png"
    assert np.array_equal(store.rows(np.array([5, 38])), np.stack([picture(6), picture(39)]))
    assert store.folder is not None
    with (store.folder / "skipped.csv").open(encoding="utf-8", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["id", "cat/5.png", "dog/बिगड़ा, सच में.png"]


def test_more_than_five_percent_of_broken_records_stop_and_the_first_are_named(photos: Path, kept: Path):
    for number in range(3):
        (photos / "cat" / f"{number}.png").write_text("no", encoding="utf-8")
    with pytest.raises(DataError, match=r"3 of 40 records of 'photos' cannot be read, more than 5 %: 'cat/0.png' \("):
        open_store(open_source(photos), FakeImages(), cache=kept)
    assert stores(kept) == []
    tolerant = open_store(open_source(photos), FakeImages(), cache=kept, tolerance=1.0)
    assert len(tolerant) == 37
    with pytest.raises(DataError, match="3 of 40 records"):  # also where they lie decoded
        open_store(open_source(photos), FakeImages(), cache=kept)


def test_only_broken_records_are_told(tmp_path: Path, kept: Path):
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_text("no", encoding="utf-8")
    for tolerance in (0.05, 1.0):
        with pytest.raises(DataError, match=r"(none of the|at least 1 of) 4 records"):
            open_store(open_source(tmp_path), FakeImages(), cache=kept, tolerance=tolerance)
    with pytest.raises(DataError, match=r"none of the 4 records of .* can be read: '0\.jpg'"):
        open_store(open_source(tmp_path), FakeImages(), cache=kept, tolerance=1.0)


def test_a_decoder_that_fails_oddly_breaks_one_record_and_not_the_run(photos: Path, kept: Path):
    store = open_store(open_source(photos), Odd(), cache=kept, workers=2)
    assert store.skipped == [("cat/3.png", "unexpected ZeroDivisionError: integer division or modulo by zero")]


class Odd(FakeImages):
    """Stumbles over one picture."""

    def store_key(self) -> str:
        return "odd"

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        row = super().decode(raw)
        return np.array([1 // 0]) if np.array_equal(row, picture(3)) else row


class Deadly(FakeImages):
    """Its process is killed, as by the system when memory runs out."""

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        if "bodh.records.worker" in sys.modules and os.getppid() == int(os.environ["BODH_TEST_PARENT"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(raw)


def test_a_worker_that_dies_is_told(photos: Path, kept: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BODH_TEST_PARENT", str(os.getpid()))
    with pytest.raises(BodhError, match=r"was killed by signal 9; it may have run out of memory: .*workers=1"):
        open_store(open_source(photos), Deadly(), cache=kept, workers=2)


def test_what_cannot_be_sent_to_workers_is_decoded_here(photos: Path, kept: Path, caplog: pytest.LogCaptureFixture):
    class Local(FakeImages):
        """Not to be found by name from elsewhere."""

    with caplog.at_level("INFO"):
        store = open_store(open_source(photos), Local(), cache=kept, workers=2)
    assert np.array_equal(store.rows(np.array([39]))[0], picture(39))
    assert "photos cannot be sent to worker processes and is decoded in this one" in caplog.text


# -------------------------------------------------------------------------------------- killed, or side by side


def pack_elsewhere(photos: Path, kept: Path, *, pause: float, workers: int) -> subprocess.Popen[str]:
    code = f"""
from pathlib import Path
from bodh.records import pack
from bodh.records.open import open_source
from bodh.records.store import open_store
from tests.unit.records.fake_modality import FakeImages
pack._MARK_SECONDS = 0.0
modality = FakeImages(pause={pause})
store = open_store(open_source({str(photos)!r}), modality, cache=Path({str(kept)!r}), workers={workers})
print(len(store), store.folder)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip


def until(condition: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def journal(kept: Path) -> Path | None:
    return next((kept / "stores").glob("*.partial/journal.jsonl"), None) if (kept / "stores").is_dir() else None


@pytest.mark.parametrize("workers", [0, 2])
def test_packing_goes_on_where_it_was_killed(photos: Path, kept: Path, workers: int):
    (photos / "cat" / "2.png").write_text("no", encoding="utf-8")
    process = pack_elsewhere(photos, kept, pause=0.05, workers=workers)
    until(lambda: (path := journal(kept)) and path.stat().st_size > 200, process)
    process.kill()
    process.communicate()
    path = journal(kept)
    assert path is not None
    done = json.loads(path.read_text(encoding="utf-8").splitlines()[-2])["done"]
    with path.open("a", encoding="utf-8") as file:
        file.write('{"done": 39, "ro')  # cut in the middle of a line
    with (path.parent / "data.bin").open("ab") as file:
        file.write(b"half a record")
    seen: list[int] = []
    store = open_store(open_source(photos), FakeImages(), cache=kept, workers=0, progress=lambda n, _: seen.append(n))
    assert done > 0
    assert min(seen) > done
    wanted = [i for i in range(40) if i != 2]
    assert np.array_equal(store.rows(np.arange(39)), np.stack([picture(i) for i in wanted]))
    assert [name for name, _ in store.skipped] == ["cat/2.png"]
    assert stores(kept) == [store.folder.name if store.folder else ""]
    assert not (store.folder / "journal.jsonl").exists() if store.folder else False


def test_a_store_that_was_killed_before_the_rename_is_not_decoded_again(photos: Path, kept: Path):
    store = open_store(open_source(photos), FakeImages(), cache=kept)
    assert store.folder is not None
    partial = store.folder.with_name(store.folder.name + ".partial")
    store.folder.rename(partial)
    inode = (partial / "data.bin").stat().st_ino
    again = open_store(open_source(photos), FakeImages(), cache=kept)
    assert again.folder is not None
    assert (again.folder / "data.bin").stat().st_ino == inode


def test_two_processes_that_pack_at_once_end_well(photos: Path, kept: Path):
    processes = [pack_elsewhere(photos, kept, pause=0.02, workers=1) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert len(stores(kept)) == 1


def test_where_there_are_no_locks_the_first_to_finish_wins(photos: Path, kept: Path, monkeypatch: pytest.MonkeyPatch):
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    first = open_store(open_source(photos), FakeImages(), cache=kept)
    assert first.folder is not None
    plan = pack.Plan()
    monkeypatch.setattr(pack, "complete", Blind(first.folder, pack.complete))
    pack.pack(open_source(photos), FakeImages(), first.folder, plan)  # as one that began before the first was done
    assert stores(kept) == [first.folder.name]


class Blind:
    """Does not see a finished store when first asked."""

    def __init__(self, folder: Path, real: object) -> None:
        self.folder, self.real, self.asked = folder, real, False

    def __call__(self, folder: Path) -> object:
        if folder == self.folder and not self.asked:
            self.asked = True
            return None
        return self.real(folder)  # type: ignore[operator]


def test_a_script_without_a_main_guard_can_pack(photos: Path, kept: Path, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from bodh.records.open import open_source\nfrom bodh.records.store import open_store\n"
        "from tests.unit.records.fake_modality import FakeImages\n"
        f"print(len(open_store(open_source({str(photos)!r}), FakeImages(), cache=Path({str(kept)!r}), workers=2)))\n",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, text=True, capture_output=True, check=False, timeout=100
    )
    assert (done.stdout, done.stderr, done.returncode) == ("40\n", "", 0)


# --------------------------------------------------------------------------------------------------- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_nothing_stays_behind(tmp_path: Path, small_disk: Path):
    photos = fill(tmp_path / "photos", [f"{i}.png" for i in range(20)], width=60, height=40)
    with pytest.raises(
        OutputError,
        match=r"the disk is full: decoded records do not fit under .*; free space, or type: export BODH_CACHE=",
    ):
        open_store(open_source(photos), FakeImages(), cache=small_disk, budget=10**9)
    assert stores(small_disk) == []


def test_a_full_disk_found_out_late_is_told_too(photos: Path, kept: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        open_store(open_source(photos), FakeImages(), cache=kept)
    assert stores(kept) == []


def test_a_cache_that_cannot_be_written_is_told(photos: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(
        OutputError,
        match=r"cannot write under '.*file/stores': Not a directory; choose another place: export BODH_CACHE=",
    ):
        open_store(open_source(photos), FakeImages(), cache=tmp_path / "file")


def test_records_that_do_not_fit_the_budget_are_streamed_and_it_is_said(
    photos: Path, kept: Path, caplog: pytest.LogCaptureFixture
):
    (photos / "cat" / "2.png").write_text("no", encoding="utf-8")
    store = open_store(open_source(photos), FakeImages(), cache=kept, budget=1000, workers=2)
    assert isinstance(store, StreamStore)
    assert "decoded whenever they are read" in caplog.text
    assert store.shape == (10, 12, 3)
    assert [name for name, _ in store.skipped] == ["cat/2.png"]
    index = np.array([38, 2, 2, 0])
    assert np.array_equal(store.rows(index), np.stack([picture(i) for i in (39, 3, 3, 0)]))
    assert store.rows(np.array([], np.int64)).shape == (0, 10, 12, 3)
    assert store.targets is not None
    assert store.targets.tolist() == [0] * 19 + [1] * 20
    assert cache.size(kept) < 5000
    store.close()


def test_streamed_records_of_different_shapes(photos: Path, kept: Path):
    fill(photos, ["tall/0.png"], first=60, width=3, height=31)
    store = open_store(open_source(photos), FakeImages(), cache=kept, budget=1000, workers=0)
    assert isinstance(store, StreamStore)
    rows = store.rows(np.array([40, 0]))
    assert [row.shape for row in rows] == [(31, 3, 3), (10, 12, 3)]
    shutil.rmtree(photos / "tall")
    with pytest.raises(DataError, match="could be read before, but not now"):
        store.rows(np.array([40]))


def test_the_cache_tells_what_it_holds_and_forgets(photos: Path, tmp_path: Path, kept: Path):
    other = fill(tmp_path / "other", ["1.png", "2.png"])
    open_store(open_source(photos), FakeImages(), cache=kept)
    open_store(open_source(other), FakeImages(), cache=kept)
    fill(photos, ["new.png"], first=70)
    open_store(open_source(photos), FakeImages(), cache=kept)
    assert sorted(entry.name for entry in cache.entries(kept)) == ["other", "photos", "photos"]
    before = cache.size(kept)
    freed = cache.forget(open_source(photos), kept)
    assert freed == before - cache.size(kept) > 2 * 40 * 360
    assert [entry.name for entry in cache.entries(kept)] == ["other"]


def test_the_cache_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("BODH_CACHE", str(tmp_path / "here"))
    assert cache.cache_root() == tmp_path / "here"
    monkeypatch.delenv("BODH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.cache_root() == tmp_path / "bodh"


def test_arrays_stay_in_memory(kept: Path):
    array = np.random.default_rng(0).integers(0, 256, (20, 6, 5), dtype=np.uint8)
    store = open_store(open_source((array, np.arange(20) % 2)), FakeImages(), cache=kept)
    assert store.folder is None
    assert store.shape == (6, 5, 1)
    assert np.array_equal(store.rows(np.array([4]))[0, :, :, 0], array[4])
    assert not kept.exists()


def test_the_real_folder_and_parquet(shared: Path, kept: Path):
    source = open_source(shared / "clothing-small", input="test")
    store = open_store(source, FakeImages(), cache=kept, workers=2)
    assert (len(store), store.shape, store.skipped) == (372, None, [])
    rows = store.rows(np.array([0, 371]))
    assert np.array_equal(rows[1], FakeImages().decode(source.read(371)))
    nlvr = open_source(shared / "nlvr" / "test.parquet")
    store = open_store(nlvr, FakeImages(side=16), cache=kept, workers=2)
    assert np.array_equal(store.rows(np.array([984]))[0], FakeImages(side=16).decode(nlvr.read(984)))
