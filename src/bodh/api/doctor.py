"""What this machine and this installation can do; probes that fail are reported, never raised."""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bodh import __version__
from bodh.contracts import Json

_HEAVY = ("numpy", "torch", "torchvision", "timm", "sklearn", "pyarrow", "onnxruntime")
_EXTRA = re.compile(r"""^([\w.-]+).*;.*extra\s*==\s*['"]([\w-]+)['"]""")
_WRITTEN = 64 * 2**20


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        versions: package → version, None where it is missing.
        cpu: cores, threads, capability, and whether bfloat16 arithmetic has units of its own.
        devices: [{"device", "name", "memory_gb"}], the best first; what `--device auto` takes is the first.
        extras: [{"extra", "missing", "install"}].
        disk: cache folder, its size, free space, write speed.
        imports: heavy package → seconds to import it in this process.
        problems: what is wrong, each with what to do about it.
    """

    versions: dict[str, str | None]
    cpu: Json
    devices: list[Json]
    extras: list[Json]
    disk: Json
    imports: dict[str, float | None]
    problems: list[str]

    def to_json(self) -> Json:
        """Return the diagnosis as plain values."""
        return dict(vars(self))


def doctor() -> Diagnosis:
    """Tell what this machine and installation can do, and what is missing.

    Looks at versions and whether torch and torchvision match, devices, threads, bfloat16 units, extras, free
    disk, the cache folder with its size and write speed, and the time that heavy imports take. It never fails.

    Returns:
        what was found, `problems` first to be read.

    Example:
        bodh doctor
        bodh doctor --json
    """
    problems: list[str] = []

    def probe(what: str, look: Callable[..., Any], otherwise: Any, *given: Any) -> Any:
        try:
            return look(*given)
        except Exception as error:  # noqa: BLE001 a doctor examines broken installations
            problems.append(f"{what} could not be examined: {type(error).__name__}: {error}")
            return otherwise

    imports = {name: probe(f"import of {name}", _import, None, name) for name in _HEAVY if _version(name)}
    versions: dict[str, str | None] = {"bodh": __version__, "python": platform.python_version()}
    versions |= {_distribution(name): _version(name) for name in _HEAVY}
    probe("the match of torch and torchvision", _check_torchvision, None, problems)
    extras = probe("extras", _extras, [])
    disk = probe("the cache folder", _disk, {})
    if disk.get("free_gb", 100.0) < 2:
        problems.append(f"only {disk['free_gb']:.1f} GB are free in {disk['cache']}; free some, or set BODH_CACHE")
    return Diagnosis(
        versions=versions,
        cpu=probe("the CPU", _cpu, {}),
        devices=probe("devices", _devices, [{"device": "cpu", "name": platform.processor(), "memory_gb": None}]),
        extras=extras,
        disk=disk,
        imports=imports,
        problems=problems,
    )


def _import(name: str) -> float:
    from importlib import import_module

    from bodh import _optional

    start = time.perf_counter()
    if name in ("torchvision", "timm"):
        getattr(_optional, name)()
    else:
        import_module(name)
    return round(time.perf_counter() - start, 2)


def _distribution(module: str) -> str:
    return {"sklearn": "scikit-learn"}.get(module, module)


def _version(module: str) -> str | None:
    try:
        return metadata.version(_distribution(module))
    except metadata.PackageNotFoundError:
        return None


def _check_torchvision(problems: list[str]) -> None:
    """Compare the torch that is installed with the one that torchvision was built for."""
    import torch

    wanted = next((line for line in metadata.requires("torchvision") or () if re.match(r"torch\b", line)), "")
    exact = re.search(r"==\s*([\d.]+)", wanted)
    have = torch.__version__.partition("+")[0]
    if exact and exact.group(1) != have:
        problems.append(
            f"torchvision {_version('torchvision')} was built for torch {exact.group(1)}, but torch is {have}; "
            f"type: pip install 'torch=={exact.group(1)}'"
        )


def _cpu() -> Json:
    import torch

    flags = _cpu_flags()
    units = sorted(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "name": _cpu_name() or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_units": units,
        "memory_gb": _memory(),
    }


def _cpu_flags() -> set[str]:
    """Return the CPU's flags as Linux names them; empty elsewhere."""
    for line in _cpuinfo():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()


def _cpu_name() -> str:
    """Return the CPU's name as Linux tells it; empty elsewhere."""
    return next((line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), "")


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _memory() -> float | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return _gb(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _devices() -> list[Json]:
    import torch

    found: list[Json] = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append(
                {"device": f"cuda:{index}", "name": properties.name, "memory_gb": _gb(properties.total_memory)}
            )
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "memory_gb": None})
    found.append({"device": "cpu", "name": _cpu_name() or platform.machine(), "memory_gb": _memory()})
    return found


def _extras() -> list[Json]:
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires("bodh") or ():
        match = _EXTRA.match(line)
        if match:
            wanted.setdefault(match.group(2), []).append(match.group(1))
    return [
        {
            "extra": extra,
            "missing": (missing := [name for name in names if not _installed(name)]),
            "install": f"pip install 'bodh[{extra}]'" if missing else "",
        }
        for extra, names in wanted.items()
        if extra != "all"
    ]


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _disk() -> Json:
    from bodh.records import cache

    root = cache.cache_root()
    place = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return {
        "cache": str(root),
        "cache_gb": _gb(cache.size(root)),
        "free_gb": _gb(cache.free_bytes(root)),
        "write_mb_per_second": _write_speed(place),
    }


def _write_speed(folder: Path) -> int:
    """Return MB/s of writing 64 MB to a file that is gone afterwards, brought to the disk."""
    block = os.urandom(2**20)
    start = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_WRITTEN // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return round(_WRITTEN / 1e6 / max(1e-6, time.perf_counter() - start))


def _gb(size: float) -> float:
    return round(size / 1e9, 2)
