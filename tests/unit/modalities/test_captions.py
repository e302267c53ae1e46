"""Captions: pictures and sentences apart and together, drawn sentences, how a model of images is taken over."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodh.contracts import Shard, View
from bodh.errors import BadRecord, ConfigError, DataError
from bodh.modalities import image
from bodh.modalities.captions import CaptionsConfig, Modality
from bodh.modalities.image import ImageConfig
from bodh.records.open import open_source

pytest.importorskip("tokenizers")
SENTENCES = [["a red dog", "लाल कुत्ता दौड़ता है"], ["two boxes [SEP] apart"], ["one", "two", "three"]]
CPU = torch.device("cpu")


def _pictures():
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (20, 60, 3), dtype=np.uint8) for _ in SENTENCES]


def _source():
    return open_source(list(zip(_pictures(), SENTENCES, strict=True)))


@pytest.fixture(name="modality", scope="module")
def _modality():
    return Modality.fit(_source(), CaptionsConfig(vocabulary=300, length=48, image=ImageConfig(size=24)))


def _rows(modality):
    source = _source()
    return [modality.decode(source.read(place)) for place in range(len(source))]


def test_picture_and_sentences_come_back(modality):
    for row, texts in zip(_rows(modality), SENTENCES, strict=True):
        assert (row.dtype, row.ndim) == (np.uint8, 1)
        picture, *ids = modality.sides(row)
        assert picture.shape == (27, 27, 3)
        assert [modality.text(one) for one in ids] == texts
        assert all(one[0] == 2 and one[-1] == 3 for one in ids)
    again = Modality(modality.config, modality.files())
    assert np.array_equal(_rows(again)[1], _rows(modality)[1])
    assert again.store_key() == modality.store_key()


def test_a_picture_alone_is_what_a_model_is_asked_about(modality):
    row = modality.decode(_pictures()[0])
    assert len(modality.sides(row)) == 1
    assert np.array_equal(modality.standardise([row]), modality.standardise([_rows(modality)[0]]))
    seen = modality.standardise(_rows(modality))
    assert seen.shape == (3, 24, 24, 3)
    assert np.array_equal(modality.standardise(list(seen)), seen)
    assert modality.show(row).startswith(b"\x89PNG")
    with pytest.raises(DataError, match="has no sentence"):
        modality.views([row], (View("target"),), 0, Shard(0, 1, 1), CPU)


def test_all_of_a_wide_picture_is_seen():
    wide = np.zeros((20, 80, 3), np.uint8)
    wide[:, :10] = 255  # which the centred square has not
    for frame, share in (("stretch", 0.125), ("crop", 0.0)):
        settings = ImageConfig(size=16, stored_size=16, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3, frame=frame)
        modality = image.Modality(settings)
        assert abs(modality.standardise([modality.decode(wide)]).mean() / 255 - share) < 0.03
    assert '"frame"' not in modality.store_key()  # what was decoded before there was a choice is still good


def test_views_are_pictures_and_drawn_sentences(modality):
    rows, spec = _rows(modality) * 20, (View("plain"), View("target"))
    plain, target = modality.views(rows, spec, 5, Shard(0, 60, 60), CPU)
    assert plain.shape == (60, 3, 24, 24)
    assert target.dtype == torch.int64
    told = [modality.text(ids.numpy()) for ids in target]
    assert all(text in SENTENCES[place % 3] for place, text in enumerate(told))
    assert set(told[2::3]) == set(SENTENCES[2])  # each of several is drawn
    part = modality.views(rows[30:50], spec, 5, Shard(30, 50, 60), CPU)
    assert torch.equal(part[0], plain[30:50])
    assert [modality.text(ids.numpy()) for ids in part[1]] == told[30:50]


def test_left_stays_left_where_a_sentence_goes_with_it(modality):
    half = np.zeros((24, 24, 3), np.uint8)
    half[:, :12] = 255
    row = modality.decode(half)
    both = np.concatenate([np.array([*half.shape, 1, 2, 2, 3], np.int32).view(np.uint8), half.reshape(-1)])
    views = modality.views([both] * 40, (View("weak"), View("target")), 1, Shard(0, 40, 40), CPU)[0]
    left = views[..., :6].mean(dim=(1, 2, 3)) > views[..., -6:].mean(dim=(1, 2, 3))
    assert left.all()
    alone = modality.views([row] * 40, (View("weak"),), 1, Shard(0, 40, 40), CPU)[0]
    turned = alone[..., :6].mean(dim=(1, 2, 3)) < alone[..., -6:].mean(dim=(1, 2, 3))
    assert turned.any()


def test_a_model_of_images_is_taken_over():
    seen = image.Modality(ImageConfig(size=16, channels=1, mean=(0.2,), std=(0.3,), stored_size=18))
    config = CaptionsConfig(vocabulary=300)
    modality = Modality.adopt(seen, config, _source())
    assert modality.prepared_shape == (1, 16, 16)
    assert modality.config.image.mean == (0.2,)
    with pytest.raises(ConfigError, match=r"modality\.image\.size=32 \(there 16\)"):
        Modality.adopt(seen, CaptionsConfig(image=ImageConfig(size=32)), _source())
    from bodh.modalities.text import Modality as Texts
    from bodh.modalities.text import TextConfig

    assert Modality.adopt(Texts(TextConfig()), config, _source()) is None


def test_broken_records_are_told(modality):
    from bodh.modalities.captions import FRAME

    def framed(texts, picture):
        return FRAME + len(texts).to_bytes(8, "little") + texts + picture

    with pytest.raises(BadRecord, match="not an image"):
        modality.decode(framed(b"a dog", b"nothing"))
    with pytest.raises(BadRecord, match="an empty text"):
        modality.decode(framed(b" ", b"nothing"))
    with pytest.raises(BadRecord, match="not UTF-8"):
        modality.decode(framed(b"\xff\xfe", b"nothing"))
    with pytest.raises(BadRecord, match="an array that cannot be read"):
        modality.decode(framed(b"a dog", b"\x93NUMPYnothing"))


def test_a_decoder_of_another_tokenizer_is_refused(modality):
    from bodh.contracts import NetworkSpec
    from bodh.errors import ModelError
    from bodh.model.modality import asked, insist_on_match

    ids = modality.tokens().vocabulary
    networks = {"backbone": NetworkSpec("backbones", "small", {}), "head": NetworkSpec("heads", "decoder", {})}
    insist_on_match(modality, networks | {"head": NetworkSpec("heads", "decoder", {"vocabulary": ids})})
    with pytest.raises(ModelError, match=f"vocabulary is {ids} there, 7 here"):
        insist_on_match(modality, networks | {"head": NetworkSpec("heads", "decoder", {"vocabulary": 7})})
    flipped = CaptionsConfig.model_validate({"image": {"size": 24, "views": {"flip": 0.5}}})
    assert asked(modality, flipped).config.image.views.flip == 0.5
    with pytest.raises(ConfigError, match=r"modality\.image\.size=32 is given"):
        asked(modality, CaptionsConfig.model_validate({"image": {"size": 32}}))
