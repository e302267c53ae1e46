"""From pictures with sentences to captions: learned, measured, written, from Python and from the command line."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bodh
from bodh.errors import ConfigError, DataError, ModelError, OutputError

pytest.importorskip("tokenizers")
pytest.importorskip("sacrebleu")
pytestmark = pytest.mark.slow

COLOURS = {"लाल": (220, 30, 30), "हरा": (30, 180, 60), "नीला": (40, 60, 220)}
SIDES = {"बाईं ओर": 2, "दाईं ओर": 30}
SMALL = {"modality.image.size": 16, "modality.vocabulary": 300, "progress": "none", "device": "cpu", "batch": 32}


def _picture(colour, side, draw):
    """A wide picture with a box near one of its ends, which the centred square would not show."""
    pixels = np.full((16, 48, 3), 235, np.uint8)
    left, top = SIDES[side] + draw.randint(0, 4), draw.randint(0, 6)
    pixels[top : top + 10, left : left + 12] = COLOURS[colour]
    return np.clip(pixels + np.random.default_rng(draw.randint(0, 9999)).normal(0, 8, pixels.shape), 0, 255)


def _save(path, *told):
    Image.fromarray(_picture(*told).astype(np.uint8)).save(path)


def _texts(colour, side):
    return [f"{side} एक {colour} डिब्बा", f"{colour} डिब्बा {side}"]


@pytest.fixture(scope="module", name="boxes")
def _boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured boxes left and right, a picture in two rows with a sentence each."""
    folder, draw = tmp_path_factory.mktemp("boxes"), random.Random(0)
    rows = []
    for number in range(240):
        told = draw.choice(list(COLOURS)), draw.choice(list(SIDES))
        _save(folder / f"{number}.png", *told, draw)
        part = "test" if number % 6 == 0 else "val" if number % 10 == 1 else "train"
        rows += [(f"{number}.png", text, part) for text in _texts(*told)]
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "caption", "split"), *rows])
    return folder


@pytest.fixture(scope="module", name="model", params=["small", "vit"])
def _model(boxes: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> bodh.Model:
    own = {"backbone.width": 48, "backbone.depth": 2, "backbone.heads": 4} if request.param == "vit" else {}
    return bodh.pretrain(
        str(boxes), backbone=request.param, out=tmp_path_factory.mktemp("run") / "run",
        epochs=45 if own else 30,
        **{"learning_rate": 0.03, "objective.dropout": 0.0, "objective.label_smoothing": 0.0,
           "objective.width": 48, **SMALL, **own},
    )  # fmt: skip


def test_it_learns_to_tell_what_it_sees(model: bodh.Model, boxes: Path, tmp_path: Path):
    assert model.manifest.task == "sequence"
    assert set(model.manifest.capabilities) == {"embed", "caption"}
    draw, wanted = random.Random(7), [(colour, side) for colour in COLOURS for side in SIDES]
    pictures = [_picture(*told, draw).astype(np.uint8) for told in wanted]
    found = model.caption(pictures)
    assert [text in _texts(*told) for text, told in zip(found.texts, wanted, strict=True)] == [True] * 6
    assert all(record["ended"] and record["score"] > -1 for record in found)
    _save(tmp_path / "one.png", "लाल", "बाईं ओर", draw)
    from_file = bodh.caption(model, tmp_path / "one.png", beams=1)
    assert from_file[0]["id"] == str(tmp_path / "one.png")
    assert from_file[0]["caption"] in _texts("लाल", "बाईं ओर")
    assert model.caption(Image.open(tmp_path / "one.png")).texts == bodh.caption(model, tmp_path / "one.png").texts
    log = [json.loads(line) for line in (model.run / "log.jsonl").read_text("utf-8").splitlines()]
    assert [entry for entry in log if entry.get("kind") == "validation"]
    assert model.embed(pictures).shape[0] == 6


def test_it_is_measured_beside_floors(model: bodh.Model, boxes: Path):
    verdict = bodh.evaluate(model, str(boxes), bootstrap=100, beams=2)
    rows = {row["who"]: row for row in verdict.tables["caption"]}
    assert rows["the model"]["BLEU"] > 90
    assert rows["the commonest caption"]["BLEU"] < 70
    assert rows["its captions, dealt to other pictures"]["BLEU"] < 80
    assert rows["untrained network"]["chrF"] < 20
    assert "It looks at the picture" in verdict.sentence
    assert "learned from pictures with sentences" in verdict.sentence
    page = verdict.report.read_text("utf-8")
    assert "What it wrote" in page
    assert "डिब्बा" in page
    told = json.loads((model.run / "evaluation.json").read_text("utf-8"))
    assert "40 test pictures with 2 sentences each" in told["notes"]["caption"]
    assert told["figures"]["caption"]["pretrained"]["references"] == 2
    versus = bodh.evaluate(model, str(boxes), against=model, bootstrap=50, beams=1).versus
    assert versus["better"] is None
    assert "On 40 test pictures" in versus["sentence"]
    with pytest.raises(DataError, match="models of another kind"):
        bodh.evaluate(model, str(boxes), protocol="translate")


def test_pictures_from_the_command_line(model: bodh.Model, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    draw = random.Random(3)
    _save(tmp_path / "photos/a.png", "नीला", "दाईं ओर", draw)
    (tmp_path / "photos/b.png").write_bytes(b"\x89PNG and no more")
    out = tmp_path / "out.jsonl"
    line = [sys.executable, "-m", "bodh", "caption", str(model.folder), str(tmp_path / "photos"), "--out", str(out)]
    done = subprocess.run([*line, "--json"], capture_output=True, encoding="utf-8", check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert {key: json.loads(done.stdout)[key] for key in ("count", "broken")} == {"count": 2, "broken": 1}
    told = [json.loads(one) for one in out.read_text("utf-8").splitlines()]
    assert told[0]["caption"] in _texts("नीला", "दाईं ओर")
    assert "not an image" in told[1]["error"]


def test_wrong_uses_are_told(model: bodh.Model, boxes: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="beams=0"):
        model.caption(boxes / "0.png", beams=0)
    with pytest.raises(ConfigError, match="length=64: this model writes texts of 1 to 63"):
        model.caption(boxes / "0.png", length=64)
    with pytest.raises(DataError, match=r"missing\.png"):
        model.caption("missing.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not an image"):
        model.caption(tmp_path / "broken.png")
    with pytest.raises(OutputError, match="exists already"):
        model.caption(boxes / "0.png", out=boxes / "captions.csv")
    with pytest.raises(ModelError, match="does not translate; it learned from captions: type bodh caption"):
        model.translate("a text")
    with pytest.raises(ModelError, match="type: bodh caption"):
        model.predict(boxes / "0.png")
    assert model.caption(boxes / "0.png", length=1)[0]["ended"] is False


def test_an_encoder_that_learned_without_labels_is_the_start(boxes: Path, tmp_path: Path):
    settings = {"progress": "none", "device": "cpu", "batch": 32}
    seen = bodh.pretrain(
        str(boxes), objective="simclr", backbone="small", out=tmp_path / "seen", epochs=1,
        **{"data.modality": "image", "modality.size": 16, "modality.frame": "stretch", **settings},
    )  # fmt: skip
    model = bodh.pretrain(str(boxes), start=seen, out=tmp_path / "run", epochs=1, **settings)
    pictures = model.manifest.modality.config["image"]
    assert {key: pictures[key] for key in ("size", "mean", "std", "frame")} == {
        key: seen.manifest.modality.config[key] for key in ("size", "mean", "std", "frame")
    }
    assert model.manifest.provenance["notes"]["start"] == seen.digest
    again = bodh.pretrain(str(boxes), start=model, out=tmp_path / "again", epochs=0.4, **settings)
    assert again.manifest.modality == model.manifest.modality  # and so the tokenizer, which its decoder knows
    with pytest.raises(ConfigError, match=r"learned from other pictures than modality\.image\.size=32 \(there 16\)"):
        bodh.pretrain(str(boxes), start=seen, out=tmp_path / "no", **{"modality.image.size": 32, **settings})
    with pytest.raises(ModelError, match="does not caption: it has no decoder; train one on pictures with sentences"):
        seen.caption(boxes / "0.png")
    texts = bodh.pretrain(
        ["a red box", "a blue box"] * 40, objective="simcse", out=tmp_path / "texts", epochs=1,
        **{"backbone.width": 16, "backbone.depth": 1, "backbone.heads": 2, "modality.vocabulary": 280, **settings},
    )  # fmt: skip
    with pytest.raises(DataError, match="the model takes text records, but boxes"):
        bodh.pretrain(str(boxes), start=texts, out=tmp_path / "no", **settings)


def test_learning_without_labels_from_the_same_records(boxes: Path, tmp_path: Path):
    """Any objective of pictures learns from captions; seq2seq does not from pictures alone."""
    settings = {"progress": "none", "device": "cpu", **SMALL}
    seen = bodh.pretrain(str(boxes), objective="simclr", out=tmp_path / "seen", epochs=1, **settings)
    assert seen.manifest.modality.name == "captions"
    models = [
        bodh.pretrain(str(boxes), start=seen, out=tmp_path / name, epochs=0.5, progress="none", device="cpu")
        for name in ("run", "same")
    ]
    assert models[0].manifest.capabilities.keys() == {"embed", "caption"}
    assert models[0].digest == models[1].digest  # which sentence is drawn follows from the seed
    with pytest.raises(DataError, match=r"learns to write texts, and boxes.* holds image records without any"):
        bodh.pretrain(str(boxes), objective="seq2seq", out=tmp_path / "no", **{"data.modality": "image"})


def test_published_weights_see(boxes: Path, shared: Path, tmp_path: Path):
    model = bodh.pretrain(
        str(boxes), backbone="resnet20", out=tmp_path / "run", epochs=0.3,
        **{**SMALL, "modality.image.size": 32, "batch": 16,
           "weights": str(shared / "weights-resnet-cifar10" / "resnet20-12fca82f.th")},
    )  # fmt: skip
    assert model.manifest.modality.config["image"]["mean"] == [0.485, 0.456, 0.406]
    assert model.manifest.provenance["notes"]["published"]["found"] == 95
    assert model.manifest.networks["head"].arguments["kind"] == "gru"
