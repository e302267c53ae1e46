"""What lies beside a classifier's report, two models compared, few-shot and maps: on real digits, small and quick."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics
from sklearn.datasets import load_digits

import bodh
from bodh.cli.app import run as command
from bodh.errors import BadRecord, ConfigError, DataError, ModelError, UnknownName

NAMES = ("शून्य", "एक", "दो", "तीन", "चार", "पाँच", "छह", "सात", "आठ", "नौ")
SMALL: dict[str, Any] = {"modality.size": 8, "modality.views.flip": 0.0, "monitor_records": 0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as files in folders with Hindi names, a train and a test part."""
    root = tmp_path_factory.mktemp("digits")
    data = load_digits()
    for number in range(500):
        folder = root / ("train" if number < 350 else "test") / NAMES[data.target[number]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((data.images[number] * 15.9).astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pretrained network, a classifier on all labels and one on two a class."""
    root = tmp_path_factory.mktemp("runs")
    bodh.pretrain(photos, out=root / "plain", epochs=2, batch=64, backbone="small", **SMALL)
    bodh.finetune(photos, start=root / "plain", out=root / "all")
    bodh.finetune(photos, start=root / "plain", out=root / "few", labels_per_class=2)
    return {name: root / name for name in ("plain", "all", "few")}


def test_files_beside_the_report_agree_with_scikit_learn(runs: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    bodh.evaluate(runs["all"], photos, protocol="task", out=tmp_path, map_records=0, bootstrap=50)
    rows = list(csv.reader(io.StringIO((tmp_path / "confusion.csv").read_text("utf-8"))))
    names, counts = rows[0][1:], np.array([[int(cell) for cell in row[1:]] for row in rows[1:]])
    told = bodh.load(runs["all"]).predict(photos / "test")
    assert len(told) == 150
    classifier = bodh.load(runs["all"])
    truth, said = [], []
    for number, name in enumerate(names):
        for record in classifier.predict(photos / "test" / name):
            truth.append(number)
            said.append(names.index(record["class"]))
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(truth, said))
    shares = json.loads((tmp_path / "confusion.json").read_text("utf-8"))["shares_of_true_class"]
    np.testing.assert_allclose(shares, metrics.confusion_matrix(truth, said, normalize="true"), atol=1e-6)
    classes = list(csv.DictReader(io.StringIO((tmp_path / "classes.csv").read_text("utf-8"))))
    f1 = [float(row["f1"]) for row in classes if row["kind"] == "class"]
    np.testing.assert_allclose(f1, metrics.f1_score(truth, said, average=None, zero_division=0))
    macro = next(row for row in classes if row["class"] == "macro")
    assert float(macro["f1"]) == pytest.approx(metrics.f1_score(truth, said, average="macro", zero_division=0))
    text = (tmp_path / "classification.txt").read_text("utf-8")
    assert re.search(r"शून्य +\d", text)
    assert f"{metrics.accuracy_score(truth, said):.4f}" in text
    for name in ("confusion", "classes", "roc", "pr", "reliability"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 400
    page = (tmp_path / "report.html").read_text("utf-8")
    for part in ("ROC", "Precision and recall", "Reliability", "What it looked at", "शून्य", "95 % interval"):
        assert part in page.replace("\u00a0", " ")


def test_names_that_no_font_can_write_are_numbered_and_left_to_the_browser(
    runs: dict[str, Path],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from bodh.report import figures

    monkeypatch.setattr(figures, "_families", lambda: {"DejaVu Sans": ""})
    monkeypatch.setattr(figures, "_letters", lambda _family: frozenset(range(32, 127)))
    bodh.evaluate(runs["all"], photos, protocol="task", out=tmp_path, map_records=0, bootstrap=0, explained=0)
    assert "no font installed here has all letters of 'आठ': the pictures number the classes" in caplog.text
    assert (tmp_path / "confusion.png").is_file()
    assert "शून्य" in (tmp_path / "confusion.svg").read_text("utf-8")
    assert "What it looked at" not in (tmp_path / "report.html").read_text("utf-8")


def test_two_models_on_the_command_line(
    runs: dict[str, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(runs["few"]), str(runs["all"]), str(photos), "map_records=0", "bootstrap=200", "pictures=no"]
    assert command(["evaluate", *words, "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    versus = told["versus"]
    one, other = (
        [record["class"] == name for name in NAMES for record in bodh.predict(run, photos / "test" / name)]
        for run in (runs["few"], runs["all"])
    )
    assert versus["right"] == pytest.approx([np.mean(one), np.mean(other)])
    assert versus["first_only"] == sum(a and not b for a, b in zip(one, other, strict=True))
    assert versus["second_only"] == sum(b and not a for a, b in zip(one, other, strict=True))
    assert versus["low"] <= versus["difference"] <= versus["high"]
    assert versus["better"] == 1
    assert versus["answer"] == "Better: all"
    assert "McNemar" in versus["sentence"]
    assert [row["model"] for row in told["tables"]["models"]] == ["few", "all"]
    assert "Told by one alone" in (tmp_path / "report.html").read_text("utf-8")
    assert command(["evaluate", *words, "--out", str(tmp_path)]) == 0
    assert "Better: all" in capsys.readouterr().out


def test_two_models_without_classes_are_compared_by_a_linear_probe(
    runs: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    found = bodh.evaluate(runs["plain"], photos, against=runs["all"], out=tmp_path, map_records=0, pictures=False)
    assert found.versus is not None
    assert found.versus["by"] == "a linear probe"
    assert found.versus["difference"] == 0  # the same frozen backbone
    assert (found.versus["better"], found.versus["p"]) == (None, 1.0)


def test_three_models_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["evaluate", "a", "b", "c", "data"]) == 2
    told = capsys.readouterr().err
    assert "given are 3 models (a, b, c); type: bodh evaluate A B DATA" in told


def examples(photos: Path, target: Path, each: int) -> Path:
    for name in NAMES[:5]:
        (target / name).mkdir(parents=True)
        for file in sorted((photos / "train" / name).iterdir())[:each]:
            (target / name / file.name).write_bytes(file.read_bytes())
    return target


def test_few_shot_tells_classes_that_the_model_never_had(
    runs: dict[str, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shots = examples(photos, tmp_path / "shots", 6)
    model = bodh.load(runs["plain"])
    right, count = 0, 0
    for name in NAMES[:5]:
        for record in model.predict(photos / "test" / name, shots=shots):
            assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-4)
            right += record["class"] == name
            count += 1
    told = bodh.predict(model, photos / "test", shots={"a": list((shots / NAMES[0]).iterdir()), "b": shots / NAMES[1]})
    assert told.shots is not None
    assert told.shots["classes"] == {"a": 6, "b": 6}
    assert 0 <= told.shots["low"] <= told.shots["accuracy"] <= told.shots["high"] <= 1
    assert right / count > 0.5, "chance is a fifth"
    words = [str(runs["plain"]), str(photos / "test"), "--shots", str(shots), "--method", "ridge"]
    assert command(["predict", *words]) == 0
    captured = capsys.readouterr()
    assert "few-shot: 5 classes, 6 examples each, method ridge; accuracy to expect" in captured.err
    one = bodh.predict(model, photos / "test" / NAMES[0], shots=examples(photos, tmp_path / "one", 1))
    assert one.shots is not None
    assert one.shots["accuracy"] is None


def test_bad_shots_are_told(runs: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    model, picture = bodh.load(runs["plain"]), next((photos / "test" / NAMES[0]).iterdir())
    shots = examples(photos, tmp_path / "shots", 2)

    def told(error: type[Exception], words: str, **options: Any) -> None:
        with pytest.raises(error, match=words):
            model.predict(picture, **options)

    told(DataError, "one class only", shots={"a": [picture]})
    told(DataError, "no such folder: 'nowhere'", shots="nowhere")
    told(DataError, "holds no folder of a class", shots=shots / NAMES[0])
    told(DataError, r"holds parts \(test, train\), not classes", shots=photos)
    told(DataError, "has more than 20 examples; allowed are 1 to 20", shots={"a": [picture] * 21, "b": [picture]})
    told(DataError, "shots of type int", shots=3)
    told(ConfigError, "'tree' is not one of", shots=shots, method="tree")
    told(ConfigError, "'knn' is for few-shot", method="knn")
    told(ConfigError, "leave out --shots or --explain", shots=shots, explain=tmp_path)
    told(ModelError, "or give examples: --shots FOLDER")
    (shots / NAMES[0] / "broken.png").write_bytes(b"no picture")
    told(DataError, "an example of the class 'शून्य' cannot be read: broken.png", shots=shots)
    (shots / "empty").mkdir()
    (shots / NAMES[0] / "broken.png").unlink()
    told(DataError, "the class 'empty' has no example", shots=shots)


def test_an_explanation_in_python_and_on_the_command_line(
    runs: dict[str, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, picture = bodh.load(runs["all"]), next((photos / "test" / NAMES[3]).iterdir())
    found = model.explain(picture)
    assert found.class_name == model.predict(picture)[0]["class"]
    assert found.method == "grad-cam"
    assert found.map.shape == (8, 8)
    assert found.map.min() >= 0
    assert found.map.max() <= 1
    other = model.explain(picture, class_name=NAMES[7])
    assert other.class_name == NAMES[7]
    assert not np.array_equal(other.map, found.map)
    with Image.open(found.save(tmp_path / "one.png")) as drawn:
        assert drawn.size == (256, 256)
    words = [str(runs["all"]), str(picture), str(picture), "--explain", str(tmp_path / "maps")]
    assert command(["predict", *words, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    assert len({record["explanation"] for record in records}) == 2
    for record in records:  # computed in a batch of two: not to the last bit
        with Image.open(record["explanation"]) as drawn, Image.open(io.BytesIO(found.png)) as plain:
            assert np.abs(np.asarray(drawn).astype(int) - np.asarray(plain)).max() <= 2
    with pytest.raises(UnknownName, match="no class named 'बिल्ली'"):
        model.explain(picture, class_name="बिल्ली")
    with pytest.raises(ModelError, match="no classes yet, so nothing decides"):
        bodh.load(runs["plain"]).explain(picture)
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(BadRecord, match=r"x\.png"):
        model.explain(tmp_path / "x.png")
