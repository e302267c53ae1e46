"""Writes the reference pages from the code: docs/verbs.md and docs/settings.md. `make docs` runs it.

`python docs/build.py --check` writes nothing and exits 1 where a page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bodh.api.list import KINDS, SECTIONS
from bodh.api.list import list as listing
from bodh.cli._command import FLAGS
from bodh.cli._signature import Parameter, read_signature
from bodh.cli.app import VERBS

HERE = Path(__file__).parent
NOTE = "<!-- written by docs/build.py from the code; change the docstrings and type: make docs -->\n"
COMMON = """## On every verb

`--json` prints one JSON object on stdout and everything else on stderr, `--quiet` says only warnings and the result,
`--verbose` says more, `--debug` shows the traceback of an error. Exit codes: 0 done, 2 a mistake in what was given,
1 a fault of bodh or of the run, 130 and 143 stopped by a signal (after saving).
"""


def main() -> int:
    """Write both pages, or with --check compare them; return the exit code."""
    stale = []
    for name, text in {"verbs.md": verbs(), "settings.md": settings()}.items():
        path = HERE / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8", newline="\n")
    if "--check" in sys.argv and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; type: make docs\n")
        return 1
    return 0


def verbs() -> str:
    """Return the page of all verbs: what `bodh VERB --help` says."""
    parts = [NOTE, "# Verbs\n", "Every verb is a command and a Python function of the same name and arguments.", ""]
    for verb in VERBS:
        signature = read_signature(verb)
        parts += [f"## {verb}\n", signature.summary, "", signature.description, ""]
        if signature.parameters:
            parts += ["| argument | default | meaning |", "|---|---|---|"]
            parts += [row(parameter) for parameter in signature.parameters]
        if signature.settings is not None:
            parts.append(f"| `KEY=VALUE` … | | {cell(signature.settings)} |")
        parts += ["", "```", signature.example, "```", ""]
    return "\n".join([*parts, COMMON])


def row(parameter: Parameter) -> str:
    """Return the table row of one argument."""
    flag = FLAGS.get(parameter.name, parameter.name).replace("_", "-")
    name = f"`{parameter.name.upper()}`" if parameter.positional else f"`--{flag}`"
    if parameter.name in FLAGS:
        name += f" (in Python `{parameter.name}=`)"
    default = "" if parameter.default in (None, "None") else f"`{parameter.default}`"
    return f"| {name} | {'required' if parameter.required else default} | {cell(parameter.meaning)} |"


def settings() -> str:
    """Return the page of all settings: what `bodh list KIND NAME` says."""
    parts = [NOTE, "# Settings\n", "Typed as `key=value` after the arguments of a verb, or in a file (`--config`).", ""]
    for section in SECTIONS:
        found = listing("settings", section)
        parts += [f"## {section}\n", found.text, "", *table(found.settings)]
    for kind in KINDS:
        parts.append(f"## {kind}\n")
        for entry in listing(kind).rows:
            found = listing(kind, entry["name"])
            parts += [f"### {entry['name']}\n", cell(entry["summary"]), "", *table(found.settings)]
    return "\n".join(parts)


def table(rows: tuple[dict[str, object], ...]) -> list[str]:
    """Return the lines of a table of settings."""
    if not rows:
        return []
    lines = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{s['key']}` | `{s['default']}` | {cell(s['allowed'] or s['kind'])} | {cell(s['meaning'])} |" for s in rows
    ]
    return [*lines, ""]


def cell(value: object) -> str:
    """Return text that can stand in a cell of a Markdown table."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())


if __name__ == "__main__":
    sys.exit(main())
