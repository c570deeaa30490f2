"""All texts of the widgets and of the report about label errors, a file a language beside this one.

A translation is a copy of `en.json` with other values. `LNL_LANGUAGE=de`, or `language="de"` where something
is shown, chooses one; what it lacks is shown in English. What stands in files for other programs (errors.csv,
summary.json) is English in every language.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path

FOLDER = Path(__file__).parent
VARIABLE = "LNL_LANGUAGE"

# What speaks against a label, as errors.csv has it, and the text that says the same.
REASONS = (
    (r"looks like (?P<image>.+), labelled (?P<label>.+)", "reason.looks_like_labelled"),
    (r"looks like (?P<image>.+)", "reason.looks_like"),
    (r"the same picture is also labelled (?P<labels>.+)", "reason.same"),
    (
        r"networks that never saw this label: (?P<best>.+) (?P<high>\d+%), the label (?P<low>\d+%)",
        "reason.unseen",
    ),
    (r"(?P<who>.+?): (?P<best>.+) (?P<high>\d+%), the label (?P<low>\d+%)", "reason.opinion"),
)


class Texts:
    """The texts of one language: `texts("review.page", page=1, pages=2)`."""

    def __init__(self, language: str):
        self.language = language
        self._all = _file("en") | _file(language)

    def __call__(self, key: str, **values: object) -> str:
        """A text with its values. Raises KeyError for one that does not exist."""
        return self._all[key].format(**values)

    def part(self, name: str) -> dict[str, str]:
        """The texts whose keys begin with the name and a dot, without these, for a widget's own script."""
        return {k.removeprefix(f"{name}."): text for k, text in self._all.items() if k.startswith(f"{name}.")}

    def named(self, part: str, name: str) -> str:
        """What stands in the part for a name that files have, such as a kind of fault; else the name."""
        return self._all.get(f"{part}.{name}", name)

    def kinds(self, kinds: str) -> str:
        """The kinds of an image, separated by semicolons as errors.csv has them."""
        return "; ".join(self.named("kind", kind) for kind in kinds.split("; ")) if kinds else ""

    def reason(self, because: str) -> str:
        """What spoke against a label, as errors.csv has it; parts that are not known stay as they are."""
        if self.language == "en":
            return because
        return "; ".join(self._reason(part) for part in because.split("; "))

    def _reason(self, part: str) -> str:
        for pattern, key in REASONS:
            if found := re.fullmatch(pattern, part):
                return self(key, **found.groupdict())
        return part


def languages() -> list[str]:
    """Those that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def of(language: str | None = None) -> Texts:
    """The texts of a language; None: of `LNL_LANGUAGE`, else English.

    Raises ValueError for a language that has no file, naming those that have.
    """
    asked = language or os.environ.get(VARIABLE) or "en"
    name = re.split(r"[_.\-@]", asked.strip().lower())[0]  # de_DE.UTF-8 as well
    if name not in languages():
        told = "the language" if language else VARIABLE
        raise ValueError(f"{told} is {asked!r}, and there are {', '.join(languages())}")
    return _texts(name)


@functools.cache
def _texts(name: str) -> Texts:
    return Texts(name)


def _file(name: str) -> dict[str, str]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
