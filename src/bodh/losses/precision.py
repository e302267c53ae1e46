"""Losses are computed in full precision, whatever the network computed in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

HALVES = (torch.float16, torch.bfloat16)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` see float32 instead of half-precision tensors, and compute outside autocast.

    Similarities divided by a temperature of 0.1 need more than the 8 bits of a bfloat16 mantissa, and autocast
    would turn the matrix product in the loss to half precision even for float32 inputs. float64 stays float64.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        full_args: Any = tuple(_full(value) for value in args)
        full_kwargs: Any = {name: _full(value) for name, value in kwargs.items()}
        with torch.autocast(device_type=device, enabled=False):
            return function(*full_args, **full_kwargs)

    return wrapped


def _full(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value
