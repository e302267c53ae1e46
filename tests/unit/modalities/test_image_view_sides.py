"""Views that ask for a side of their own: multi-crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodh.contracts import Shard, View
from bodh.errors import ConfigError
from bodh.modalities import vector
from bodh.modalities.image import ImageConfig, Modality
from bodh.views import image as rendering

CPU = torch.device("cpu")
ROWS = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
SPEC = (View("strong"), View("strong", {"side": 0.43, "crop_scale": (0.05, 0.4)}), View("plain"), View("crop"))


def fitted(**views) -> Modality:
    return Modality(ImageConfig(size=32, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3, views=views))


def test_a_view_has_its_share_of_the_side() -> None:
    views = fitted().views(ROWS, SPEC, 1, Shard(0, 12, 12), CPU)
    assert [view.shape[2:] for view in views] == [(32, 32), (14, 14), (32, 32), (32, 32)]
    smaller = fitted(size=24).views(ROWS, SPEC, 1, Shard(0, 12, 12), CPU)
    assert [view.shape[2:] for view in smaller] == [(24, 24), (10, 10), (32, 32), (24, 24)]


def test_other_views_stay_what_they_were() -> None:
    modality = fitted()
    together = modality.views(ROWS, SPEC, 1, Shard(0, 12, 12), CPU)
    plain = modality.views(
        ROWS, (SPEC[0], View("strong", {"crop_scale": (0.05, 0.4)}), *SPEC[2:]), 1, Shard(0, 12, 12), CPU
    )
    for place in (0, 2, 3):
        assert torch.equal(together[place], plain[place])
    # the same crops and colours at another side
    shrunk = torch.nn.functional.interpolate(plain[1], 14, mode="bilinear", antialias=True)
    assert float((shrunk - together[1]).abs().mean()) < 0.25 * float(together[1].std())


def test_sides_do_not_depend_on_the_number_of_processes() -> None:
    modality = fitted()
    whole = modality.views(ROWS, SPEC, 1, Shard(0, 12, 12), CPU)
    half = modality.views(ROWS[5:], SPEC, 1, Shard(5, 12, 12), CPU)
    for one, other in zip(whole, half, strict=True):
        assert torch.equal(one[5:], other)


def test_views_of_one_side_are_rendered_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    real = rendering.render

    def counted(rows, recipes, seeds, *, target, **rest):
        calls.append((target.size, len(recipes)))
        return real(rows, recipes, seeds, target=target, **rest)

    monkeypatch.setattr(rendering, "render", counted)
    spec = (SPEC[0], SPEC[1], SPEC[0], *[SPEC[1]] * 3)
    fitted().views(ROWS, spec, 1, Shard(0, 12, 12), CPU)
    assert calls == [(32, 2), (14, 4)]


@pytest.mark.parametrize("share", [0, 1.5, -0.2, "half", True])
def test_a_side_out_of_range_is_refused(share: object) -> None:
    with pytest.raises(ConfigError, match=f"view setting side: .* given {share!r}"):
        fitted().views(ROWS, (View("strong", {"side": share}),), 1, Shard(0, 12, 12), CPU)


def test_a_plain_view_has_no_side_of_its_own_and_vectors_have_none_at_all() -> None:
    (plain,) = fitted().views(ROWS, (View("plain", {"side": 0.5}),), 1, Shard(0, 12, 12), CPU)
    assert plain.shape == (12, 3, 32, 32)
    vectors = vector.Modality(vector.VectorConfig(mean=(0.0,) * 5, std=(1.0,) * 5))
    (view,) = vectors.views(np.ones((12, 5), np.float32), (SPEC[1],), 1, Shard(0, 12, 12), CPU)
    assert view.shape == (12, 5)
