"""What an API verb takes and says, read from its source: signature and Google docstring, nothing imported.

The command line is generated from this, so that it has no names, defaults, or help texts of its own, and
`bodh --help` costs no import of what the verbs need.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

_API = Path(__file__).parents[1] / "api"
_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Example|Examples|Note|Attributes):\s*$")
_ENTRY = re.compile(r"^\*{0,2}(\w+):\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a verb.

    Attributes:
        name: as in Python.
        kinds: members of its annotation as written ("int", "None"); a Literal's choices are in `choices`.
        choices: what a Literal allows, empty where there is none.
        default: as written in the source, None where the parameter must be given.
        positional: given by place in Python, and so on the command line.
        several: a sequence: a variadic word, or an option with commas.
        meaning: its entry under Args.
    """

    name: str
    kinds: tuple[str, ...]
    choices: tuple[str, ...]
    default: str | None
    positional: bool
    several: bool
    meaning: str

    @property
    def required(self) -> bool:
        """True where the call fails without it."""
        return self.default is None


@dataclass(frozen=True, slots=True)
class Signature:
    """A verb as its source says it."""

    name: str
    summary: str
    description: str
    example: str
    parameters: tuple[Parameter, ...]
    settings: str | None
    """meaning of `**settings`, None where the verb takes none"""


def read_signature(verb: str) -> Signature:
    """Return the signature of `bodh.api.<verb>.<verb>`, read from the file without importing it."""
    tree = ast.parse((_API / f"{verb}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == verb)
    summary, description, sections = split_docstring(ast.get_docstring(function) or "")
    meanings = read_entries(sections.get("Args", ""))
    given = function.args
    firm = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [*([None] * (len(firm) - len(given.defaults))), *given.defaults]
    parameters = [_parameter(arg, default, meanings, True) for arg, default in zip(firm, defaults, strict=True)]
    for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        parameters.append(_parameter(arg, default, meanings, False))
    settings = meanings.get(given.kwarg.arg, "") if given.kwarg else None
    example = sections.get("Example", sections.get("Examples", ""))
    return Signature(verb, summary, description, example, tuple(parameters), settings)


def _parameter(arg: ast.arg, default: ast.expr | None, meanings: dict[str, str], positional: bool) -> Parameter:
    kinds, choices = _kinds(arg.annotation)
    return Parameter(
        name=arg.arg,
        kinds=tuple(kinds),
        choices=tuple(choices),
        default=None if default is None else ast.unparse(default),
        positional=positional,
        several=any(re.match(r"(Sequence|list|tuple|Iterable)\b", kind) for kind in kinds),
        meaning=meanings.get(arg.arg, ""),
    )


def _kinds(annotation: ast.expr | None) -> tuple[list[str], list[str]]:
    if annotation is None:
        return [], []
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        left, right = _kinds(annotation.left), _kinds(annotation.right)
        return left[0] + right[0], left[1] + right[1]
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        elements = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return [], [str(ast.literal_eval(element)) for element in elements]
    return [ast.unparse(annotation)], []


def split_docstring(text: str) -> tuple[str, str, dict[str, str]]:
    """Return (summary, description, {section: dedented text}) of a Google docstring."""
    head: list[str] = []
    sections: dict[str, list[str]] = {}
    current = head
    for line in text.splitlines():
        match = _SECTION.match(line)
        if match:
            current = sections.setdefault(match.group(1), [])
        elif current is not head and line and not line[0].isspace():
            current = head  # text after a section goes on with the description
            current += ["", line]
        else:
            current.append(line)
    summary, _, rest = "\n".join(head).strip().partition("\n\n")
    bodies = {name: inspect.cleandoc("\n" + "\n".join(lines)).strip() for name, lines in sections.items()}
    return " ".join(summary.split()), rest.strip(), bodies


def read_entries(text: str) -> dict[str, str]:
    """Return {name: meaning} of an Args section; continuation lines are joined."""
    entries: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        match = _ENTRY.match(line)
        if match:
            name = match.group(1)
            entries[name] = match.group(2)
        elif name and line.strip():
            entries[name] = f"{entries[name]} {line.strip()}"
    return {key: value.strip() for key, value in entries.items()}
