"""Networks built again from their specs, and their weights in and out of safetensors.

A spec names a component of bodh and plain arguments: nothing from a model folder is ever imported or run.
Before memory for weights is taken, the network is laid out without any, and compared with what the file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter, ValidationError

from bodh import _catalog
from bodh.contracts import NetworkSpec
from bodh.errors import BodhError, ModelError
from bodh.model.manifest import NetworkEntry, plain, told

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_BAD_BUILD = (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError, ArithmeticError, MemoryError)


def specs_of(networks: nn.ModuleDict) -> dict[str, NetworkSpec]:
    """Return the spec that every network in `networks` carries.

    Raises:
        ModelError: a network has no `.spec`, so that it could not be built again.
    """
    found = {name: getattr(network, "spec", None) for name, network in networks.items()}
    for name, spec in found.items():
        if not isinstance(spec, NetworkSpec):
            raise ModelError(f"network {name!r} ({type(networks[name]).__name__}) has no spec and cannot be saved")
    return {name: spec for name, spec in found.items() if spec is not None}


def entries_of(specs: Mapping[str, NetworkSpec]) -> dict[Literal["backbone", "head"], NetworkEntry]:
    """Return specs as entries of a manifest.

    Raises:
        ModelError: a spec says what a model folder may not say (a path, an address, weights from elsewhere).
    """
    found = {
        name: {"room": spec.room, "name": spec.name, "arguments": plain(spec.arguments)} for name, spec in specs.items()
    }
    try:
        return TypeAdapter(dict[Literal["backbone", "head"], NetworkEntry]).validate_python(found)
    except ValidationError as error:
        raise ModelError(f"a network cannot be built so that a model can be saved: {told(error)}") from None


def build(specs: Mapping[str, NetworkSpec], *, seed: int = 0, device: torch.device | str = "cpu") -> nn.ModuleDict:
    """Return freshly initialised networks; the weights depend on `seed` alone, the global state is left as it was.

    Args:
        specs: by name ("backbone", "head").
        seed: of the initialisation.
        device: where; "meta" lays the networks out without memory.

    Raises:
        ModelError: a component refuses its arguments, or they are none that a model folder may hold.
        UnknownName: no such component.
    """
    import torch
    from torch import nn

    entries_of(specs)  # what could not be saved is told before anything is trained
    networks = nn.ModuleDict()
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        for name, spec in specs.items():
            component = _catalog.get(spec.room, spec.name)
            try:
                networks[name] = component.build(**spec.arguments)
            except (BodhError, *_BAD_BUILD) as error:
                reason = " ".join(str(error).split())[:300]
                raise ModelError(f"cannot build {name} {spec.room}/{spec.name}: {reason}") from error
    return networks


def flat_weights(networks: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers as contiguous CPU tensors under flat names ("backbone.conv1.weight").

    Tensors that share memory are copied apart: safetensors holds each by itself.
    """
    seen: set[int] = set()
    result = {}
    for name, tensor in networks.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        if plain.data_ptr() in seen:
            plain = plain.clone()
        seen.add(plain.data_ptr())
        result[name] = plain
    return result


def weights_to_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Return `weights` as the content of a safetensors file.

    Raises:
        ModelError: a weight is not a finite number; such a model would be of no use.
    """
    from safetensors.torch import save

    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"weight {name!r} holds values that are not finite numbers; the model is not saved")
    return bytes(save(dict(weights), metadata={"format": "pt"}))


def weights_from_bytes(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; its header is checked against its length by the library.

    Raises:
        ModelError: not a safetensors file, cut short, with a header that does not fit, or not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        weights: dict[str, Tensor] = load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"model.safetensors is not valid: {' '.join(str(error).split())[:200]}") from None
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"model.safetensors: {name!r} holds values that are not finite numbers")
    return weights


def check_fit(specs: Mapping[str, NetworkSpec], weights: Mapping[str, Tensor]) -> None:
    """Raise ModelError unless `weights` are exactly what networks of `specs` hold: names, shapes and types.

    The networks are laid out on the meta device, so that no spec can make this allocate anything.
    """
    expected = build(specs, device="meta").state_dict()
    faults = [f"{name!r} is missing" for name in expected if name not in weights]
    faults += [f"{name!r} is unexpected" for name in weights if name not in expected]
    for name in expected.keys() & weights.keys():
        given, wanted = weights[name], expected[name]
        if given.shape != wanted.shape or given.dtype != wanted.dtype:
            faults.append(
                f"{name!r} is {_kind(given)}, the network needs {_kind(wanted)}",
            )
    if faults:
        more = f" (and {len(faults) - 4} more)" if len(faults) > 4 else ""
        raise ModelError(f"weights do not fit the networks of model.json: {'; '.join(sorted(faults)[:4])}{more}")


def restore(specs: Mapping[str, NetworkSpec], content: bytes) -> nn.ModuleDict:
    """Return the networks of `specs` with the weights in `content`, in evaluation mode, on the CPU.

    Raises:
        ModelError: the weights are damaged or do not fit.
    """
    weights = weights_from_bytes(content)
    check_fit(specs, weights)
    networks = build(specs)
    networks.load_state_dict(weights, strict=True)
    return networks.eval()


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
