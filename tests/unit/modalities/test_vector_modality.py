"""The vector modality: standardised, missing values filled, features corrupted as SCARF does."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from bodh.contracts import Modality as Seam
from bodh.contracts import Shard, View
from bodh.errors import BadRecord, ConfigError, DataError
from bodh.modalities.vector import Modality, VectorConfig

CPU = torch.device("cpu")


def source(rows):
    return SimpleNamespace(
        name="table",
        ids=[str(k) for k in range(len(rows))],
        splits=np.array(["train"] * len(rows)),
        read=rows.__getitem__,
    )


@pytest.fixture
def rows():
    data = np.random.default_rng(0).normal(5, 3, (200, 10)).astype(np.float32)
    data[:, 4] = 2.0
    data[3, 1] = np.nan
    return data


@pytest.fixture
def modality(rows):
    return Modality.fit(source(rows), VectorConfig())


def test_standardised_and_filled(modality, rows):
    prepared = modality.prepare()(torch.from_numpy(rows))
    assert float(prepared.mean(dim=0).abs().max()) < 1e-4
    deviation = prepared.std(dim=0, correction=0)
    assert float(deviation[4]) == 0.0
    assert float((deviation[[0, 2, 3, 5]] - 1).abs().max()) < 1e-4
    assert float(prepared[3, 1]) == 0.0
    assert modality.prepared_shape == (10,)
    again = Modality(VectorConfig.model_validate_json(modality.config.model_dump_json()))
    assert torch.equal(again.prepare()(torch.from_numpy(rows)), prepared)


def test_corruption_replaces_its_share_with_values_of_the_feature(modality, rows):
    n = len(rows)
    one, two, weak, plain = modality.views(
        rows, (View("strong"), View("strong"), View("weak"), View("plain")), 3, Shard(0, n, n), CPU
    )
    assert torch.equal(weak, plain)
    assert not torch.equal(one, two)
    changed = one != plain
    assert int(changed.sum(dim=1).max()) <= 6
    assert float(changed.float().mean()) == pytest.approx(0.6 * 0.9, abs=0.03)  # one feature of ten is constant
    for feature in range(10):
        assert set(one[:, feature].tolist()) <= set(plain[:, feature].tolist())


def test_options_and_noise(modality, rows):
    n = len(rows)
    spec = (View("strong", {"corruption": 0.0}), View("strong", {"corruption": 0.0, "noise": 0.5, "blur": 1.0}))
    same, noisy = modality.views(rows, spec, 3, Shard(0, n, n), CPU)
    assert torch.equal(same, modality.prepare()(torch.from_numpy(rows)))
    assert float((noisy - same).std()) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ConfigError, match=r"corruption.*given 2"):
        modality.views(rows, (View("strong", {"corruption": 2}),), 3, Shard(0, n, n), CPU)


@pytest.mark.parametrize("d", [1, 2])
def test_degenerate(d):
    data = np.ones((1, d), np.float32)
    modality = Modality.fit(source(data), VectorConfig())
    (view,) = modality.views(list(data), (View("strong"),), 0, Shard(0, 1, 1), CPU)
    assert view.shape == (1, d)
    assert torch.isfinite(view).all()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"abc", "3 bytes"),
        (np.array(["a"]), "an array of <U1"),
        (np.array([np.inf]), "infinite"),
        (np.zeros(3), "3 features; this data has 10"),
    ],
)
def test_broken_records(modality, raw, reason):
    with pytest.raises(BadRecord, match=reason):
        modality.decode(raw)


def test_lengths_must_agree():
    with pytest.raises(DataError, match="2, 3 features"):
        Modality.fit(source([np.zeros(2), np.zeros(3)]), VectorConfig())


def test_seam(modality, rows):
    assert isinstance(modality, Seam)
    assert modality.decode(np.arange(10)).dtype == np.float32
    assert modality.standardise(rows) is rows
    assert modality.input_spec() == {"name": "vector", "dtype": "float32", "shape": ["n", 10]}
    assert Image.open(io.BytesIO(modality.show(rows[0], 48))).size == (48, 48)
    with pytest.raises(ConfigError, match="has not seen data"):
        Modality(VectorConfig()).prepare()
