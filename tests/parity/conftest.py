"""What the parity tests of objectives share: real images, and the independent implementation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from bodh import _optional


@pytest.fixture(scope="module")
def lightly() -> Any:
    _optional.torchvision()
    return pytest.importorskip("lightly")


@pytest.fixture(scope="module")
def images(shared: Path) -> tuple[Tensor, Tensor]:
    """[48 3 32 32] float64 from -1 to 1, and their labels."""
    table = pq.read_table(shared / "cifar10" / "test.parquet").slice(0, 48)
    pictures = [np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in table["image"].to_pylist()]
    x = torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2).double() / 127.5 - 1
    return x, torch.tensor(table["label"].to_numpy().copy())
