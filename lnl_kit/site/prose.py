"""Text of docstrings and cells of tables as Markdown of the site."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"([\\*\[\]#]|(?<!\w)_|_(?!\w))")  # an underscore inside a name is no emphasis
MEANT = re.compile(r"(`[^`]+`|(?<![\w*])\*\w+\*(?![\w*]))")  # code and *emphasis* of docstrings
ITEM = re.compile(r"- +(.*)")
NAMED = re.compile(
    r"((?:[a-z_]\w*|[A-Z])(?:, \w+)*): +(.*)"
)  # `name: what it is`, as docstrings list arguments


def escape(text: str) -> str:
    """Plain text that Markdown leaves as it is, but for `code` and *a word* with emphasis."""
    parts = MEANT.split(text)
    return "".join(
        part if n % 2 else html.escape(SPECIAL.sub(r"\\\1", part), quote=False).replace("|", "&#124;")
        for n, part in enumerate(parts)
    )


def prose(text: str, names: bool = False) -> str:
    """A docstring as Markdown: paragraphs, and lists, whose items start with a dash.

    names: lines `name: what it is` at the start of a paragraph, or after such a line, are items too.
    """
    return "\n\n".join(_paragraph(p, names) for p in re.split(r"\n\s*\n", text.strip("\n")) if p.strip())


def _paragraph(text: str, names: bool) -> str:
    """One paragraph, with the lists in it apart."""
    lines: list[str] = []
    listed = False  # whether the last line belongs to an item of a list
    for number, line in enumerate(text.splitlines()):
        item, named = ITEM.match(line), NAMED.match(line) if names and (number == 0 or listed) else None
        if number and bool(item or named) != listed and not (listed and line.startswith(" ")):
            lines.append("")  # a list starts after an empty line, and ends before one
        if item or named:
            lines.append("- " + (f"`{named[1]}`: {escape(named[2])}" if named else escape(line[1:].strip())))
            listed = True
        elif listed and line.startswith(" "):
            lines.append("  " + escape(line.strip()))
        else:
            lines.append(escape(line.strip()))
            listed = False
    return "\n".join(lines)


def first_sentence(text: str) -> str:
    """The first line of a docstring, without its full stop."""
    return text.strip().partition("\n")[0].rstrip(".")


def sections(docstring: str) -> tuple[str, str, str]:
    """(title, idea, where it differs) of a method's file: the first paragraph, the middle, and what comes
    after "Where this differs" or the like.
    """
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    at = next((n for n, p in enumerate(paragraphs) if re.match(r"Where (this|they) differ", p)), None)
    middle = paragraphs[1:at]
    return paragraphs[0].replace("\n", " "), "\n\n".join(middle), "\n\n".join(paragraphs[at:] if at else [])


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[str] = ()) -> str:
    """A Markdown table. Cells are text, or Markdown where they are of class `Markdown`; None is a dash.
    Columns named in `numbers` stand right.
    """
    right = set(numbers)
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join("---:" if name in right else "---" for name in head) + "|",
    ]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def raw(page: str) -> str:
    """HTML that Markdown leaves as it is: within one element, and without what fences code."""
    page = page.strip().replace("`", "&#96;").replace("~~~", "&#126;&#126;&#126;")
    return f'<div class="cell">{page}</div>' if page else ""


class Markdown(str):
    """Text of a cell that is Markdown already."""


def _cell(value: object) -> str:
    if value is None or value == "" or value != value:  # NaN differs from itself
        return "–"
    return value if isinstance(value, Markdown) else escape(str(value)).replace("\n", " ")


def folded(title: str, body: str, kind: str = "note") -> str:
    """Markdown that a reader unfolds."""
    inside = "\n".join(f"    {line}" if line else "" for line in body.splitlines())
    return f'??? {kind} "{title}"\n\n{inside}\n'
