"""The reference: what the package offers to Python, module by module, and the command line."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from unittest import mock

import lnl_kit

from ..cli import COMMANDS, make_parser
from .prose import Markdown, escape, first_sentence, table

PACKAGE = Path(lnl_kit.__file__).parent
WITHOUT = ("site",)  # no part of the kit's interface


def pages() -> dict[str, str]:
    """{path: Markdown} of the reference."""
    parts = folders()
    found = {f"reference/{name}.md": _folder(name, modules) for name, modules in parts.items()}
    return {"reference/index.md": overview(parts), "reference/command-line.md": command_line(), **found}


def folders() -> dict[str, list[str]]:
    """{folder of the package: its modules with dots}; single files together as `modules`."""
    found: dict[str, list[str]] = {"modules": []}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in WITHOUT or (parts[-1] == "__init__" and len(parts) == 1):
            continue
        name = ".".join(p for p in parts if p != "__init__")
        found.setdefault(parts[0] if len(parts) > 1 else "modules", []).append(name)
    return found


def overview(parts: dict[str, list[str]]) -> str:
    """What `import lnl_kit` gives, and the folders with a line each (Markdown)."""
    where = _places()
    body = ["# Reference", "## `import lnl_kit`", "What stands at the top of the package."]
    body += [_shown(f"lnl_kit.{where[name]}.{name}", 3) for name in lnl_kit.__all__]
    rows = [(Markdown(f"[`lnl_kit.{n}`]({n}.md)"), _says(n)) for n in parts if n != "modules"]
    rows.append((Markdown("[single files](modules.md)"), ", ".join(parts["modules"])))
    return "\n\n".join([*body, "## Folders", table(("folder", "what is in it"), rows)]) + "\n"


def _folder(name: str, modules: list[str]) -> str:
    title = "Single files" if name == "modules" else f"`lnl_kit.{name}`"
    return "\n\n".join([f"# {title}", *(_shown(f"lnl_kit.{m}", 2) for m in modules)]) + "\n"


def _shown(name: str, level: int) -> str:
    """What mkdocstrings shows of a module, class or function (Markdown)."""
    return f"::: {name}\n    options:\n      heading_level: {level}\n"


def _says(folder: str) -> str:
    text = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_bytes())) or ""
    return first_sentence(text)


def _places() -> dict[str, str]:
    """{name: the module that has it}, of the names at the top of the package, as `__init__` imports them."""
    tree = ast.parse((PACKAGE / "__init__.py").read_bytes())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {alias.name: _home(node.module or "", alias.name) for node in imports for alias in node.names}


def _home(module: str, name: str) -> str:
    """The module in which a name is defined, where `module` is a folder that passes it on."""
    init = PACKAGE / module.replace(".", "/") / "__init__.py"
    if not init.exists():
        return module
    for node in ast.parse(init.read_bytes()).body:
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return f"{module}.{node.module}"
    return module


def command_line() -> str:
    """Every command with its flags, as `lnl COMMAND --help` prints them (Markdown)."""
    body = [
        "# Command line",
        "`lnl-kit` is the same as `lnl`. The settings of a method: `lnl train METHOD --help`.",
    ]
    with mock.patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}):
        for name, (says, _) in COMMANDS.items():
            parser = make_parser([name])
            commands = next(a for a in parser._actions if isinstance(a.choices, dict))
            told = commands.choices[name].format_help()  # type: ignore[index]
            body += [f"## lnl {name}", escape(says[:1].upper() + says[1:]) + ".", f"```text\n{told}```"]
    return "\n\n".join(body) + "\n"
