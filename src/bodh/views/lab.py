"""sRGB and CIE L*a*b*, D65, 2 degrees: lightness apart from colour.

Source: IEC 61966-2-1 (sRGB), CIE 15 (L*a*b*); constants as in scikit-image's `color` module, checked against its
published values. Axes: `n c h w` image.
"""

from __future__ import annotations

import torch
from torch import Tensor

TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""Linear red, green and blue to X, Y and Z."""
WHITE = (0.95047, 1.0, 1.08883)
"""X, Y and Z of white under D65."""


def lab(x: Tensor) -> Tensor:
    """Return sRGB images `[n 3 h w]` of values 0 to 1 as L (0 to 100), a and b (about -110 to 110), `[n 3 h w]`."""
    linear = torch.where(x > 0.04045, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, x / 12.92)
    scaled = torch.tensor(TO_XYZ, dtype=x.dtype, device=x.device) / torch.tensor(
        WHITE, dtype=x.dtype, device=x.device
    ).reshape(3, 1)
    y = torch.einsum("kc,nchw->nkhw", scaled, linear)
    f = torch.where(y > 0.008856, y.clamp(min=0.008856) ** (1 / 3), 7.787 * y + 16 / 116)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], dim=1)


def grey_of(lightness: Tensor) -> Tensor:
    """Return the sRGB value 0 to 1 of the grey that has `lightness` L (0 to 100), any shape."""
    f = (lightness + 16) / 116
    y = torch.where(f > 6 / 29, f**3, (f - 16 / 116) / 7.787)
    return torch.where(y > 0.0031308, 1.055 * y.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * y)
