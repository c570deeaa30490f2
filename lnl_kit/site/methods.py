"""A page a method: idea, equation, settings, measured and published numbers, and where it differs."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

from ..methods import FAMILIES, METHODS, listed
from ..reproduce.fragments import markdown
from ..toolbox import losses
from . import numbers
from .prose import Markdown, escape, first_sentence, folded, prose, raw, sections, table

EQUATIONS = Path(__file__).with_name("equations.md")
NOTATION = (
    "*p is the prediction (a softmax), y the given label, e<sub>y</sub> the same as a one-hot vector, K the "
    "number of classes, H an entropy, CE cross-entropy; sg(·) carries no gradient.*"
)
COLUMNS = (
    "*last*: accuracy on the test images after the last epoch, mean ± standard deviation over seeds. *best*: "
    "in the best epoch. *ahead*: percent points above cross-entropy with the same labels and seeds, ± the "
    "standard error. *memorised*: share of the wrong labels that the network repeats. Rows with all fields: "
    "`data/measured/`."
)


def pages() -> dict[str, str]:
    """{path: Markdown} of the overview and of every method."""
    return {"methods/index.md": overview(), **{f"methods/{m}.md": page(m) for m in METHODS}}


def overview() -> str:
    """Every method by what it works by, with a line each (Markdown)."""
    summaries = {method.name: method.summary for method in listed()}
    parts = [
        "# Methods",
        f"{len(METHODS)} methods by what they work by. All but those on features share network, epochs, "
        "batch, schedule and view; only what a paper adds differs. `lnl train NAME` trains one.",
    ]
    for family, names in FAMILIES.items():
        rows = [(Markdown(f"[`{n}`]({n}.md)"), first_sentence(summaries[n])) for n in names]
        parts += [f"## {heading(family)}", table(("name", "in a line"), rows)]
    return "\n\n".join(parts) + "\n"


def heading(family: str) -> str:
    """A family as a heading: what its methods work by."""
    return family[:1].upper() + family[1:]


def page(method: str) -> str:
    """The page of a method (Markdown)."""
    train, chosen = METHODS[method]
    module = sys.modules[chosen.__module__]
    source, idea, differs = sections(inspect.getdoc(module) or "")
    siblings = [n for n, (_, s) in METHODS.items() if s.__module__ == chosen.__module__ and n != method]
    summary = inspect.getdoc(chosen) or ""
    parts = [f"# `{method}`", f"**{escape(summary.partition(chr(10))[0])}**", "## Idea", prose(idea)]
    parts.insert(2, f"*{escape(source)}*")
    if len(siblings) > 0:
        links = ", ".join(f"[`{n}`]({n}.md)" for n in siblings)
        parts.append(f"In one file with {links}, of which the text speaks too.")
    parts += ["## Equation", equation(method), *code(module, train, chosen)]
    parts += ["## Settings", numbers.settings(method)]
    if told := numbers.printed_settings(method):
        parts += [
            "`lnl train " + method + " --preset paper` takes its settings from here:",
            folded("What papers print of them", told, "abstract"),
        ]
    parts += _controls(method)
    parts += ["## Measured", numbers.measured(method) or "Nothing is kept of this method yet."]
    parts.append(COLUMNS)
    if printed := numbers.published_results(method):
        parts += ["## Published", folded("What the papers print", printed, "abstract")]
    if differs:
        parts += ["## Where it differs", prose(differs)]
    shown = module.__name__.rpartition(".")[2]
    place = f"../reference/methods.md#lnl_kit.methods.{shown}"
    parts += ["## Use it", f"```\nlnl train {method} --rate 0.5\nlnl train {method} --help\n```"]
    parts.append(
        f'From Python: `lnl_kit.train("{method}", rate=0.5)`. All functions of its file: [{shown}]({place}).'
    )
    return "\n\n".join(parts) + "\n"


def _controls(method: str) -> list[str]:
    """The method without its idea, as its settings class names it."""
    controls = METHODS[method][1].controls
    if not controls:
        return []
    rows = [
        (Markdown(f"`{method}:{name}`"), Markdown(", ".join(f"`{k} = {v}`" for k, v in changes.items())))
        for name, changes in controls.items()
    ]
    return ["### Controls", "The same run without the idea:", table(("control", "what it changes"), rows)]


def equation(method: str) -> str:
    """The equations of a method as MathML, with the words between them (HTML in Markdown)."""
    return f"{raw(markdown(equations()[method]))}\n\n{NOTATION}"


@functools.cache
def equations() -> dict[str, str]:
    """{method: its section of equations.md}."""
    found = re.split(r"^## (\w+)\n", EQUATIONS.read_text("utf-8"), flags=re.M)
    return dict(zip(found[1::2], found[2::2]))


def code(module: ModuleType, train, chosen: type) -> list[str]:
    """The functions that a method is made of, each to be unfolded (Markdown)."""
    own = [f for _, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
    own = [f for f in own if f is train or not f.__name__.startswith(("train_", "_"))]
    own.sort(key=lambda f: (f is not train, f.__code__.co_firstlineno))
    named = re.findall(r"losses\.(\w+)\(", inspect.getsource(chosen))
    used = [getattr(losses, n) for n in dict.fromkeys(named) if inspect.isfunction(getattr(losses, n, None))]
    shown = []
    for function in [*used, *own]:
        says = first_sentence(inspect.getdoc(function) or "").replace('"', "'")
        title = f"`{function.__name__}`" + (f": {escape(says)}" if says else "")
        shown.append(folded(title, f"```python\n{inspect.getsource(function)}```", "example"))
    return shown
