"""`bodh doctor`: how a diagnosis looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import answer, facts, heading, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print the verdict first, then what was found."""
    problems = payload["problems"]
    if problems:
        answer(console, f"{len(problems)} thing{'s' * (len(problems) > 1)} to see to", "bad")
        for problem in problems:
            console.print(f"- {problem}")
    else:
        answer(console, "All is well.", "good")
    heading(console, "Versions")
    times = payload["imports"]
    names = {"scikit-learn": "sklearn"}
    rows = [
        [name, version or "missing", times.get(names.get(name, name))] for name, version in payload["versions"].items()
    ]
    table(console, ["package", "version", "seconds to import"], rows)
    heading(console, "Devices")
    table(
        console, ["device", "name", "memory GB"], [[d["device"], d["name"], d["memory_gb"]] for d in payload["devices"]]
    )
    cpu = payload["cpu"]
    if cpu:
        units = ", ".join(cpu["bfloat16_units"]) or "none: float32 is used, bfloat16 would be several times slower"
        heading(console, "CPU")
        cores = f"{cpu['usable_cores']} of {cpu['cores']} cores, {cpu['threads']} threads"
        facts(console, {"threads": cores, "vector units": cpu["capability"], "bfloat16 units": units})
    heading(console, "Extras")
    extras = [
        [e["extra"], "there" if not e["missing"] else f"missing: {', '.join(e['missing'])}", e["install"]]
        for e in payload["extras"]
    ]
    table(console, ["extra", "state", "to install it"], extras)
    disk = payload["disk"]
    if disk:
        heading(console, "Disk")
        facts(
            console,
            {
                "cache": f"{disk['cache']} ({disk['cache_gb']} GB)",
                "free": f"{disk['free_gb']} GB",
                "writes": f"{disk['write_mb_per_second']} MB/s",
            },
        )


COMMAND = Command("doctor", show)
