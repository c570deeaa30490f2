"""Settings in files: what `train` is asked for, as YAML, JSON or TOML; settings.json of a run is one too."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from ..data.naming import OWN
from ..files import read_file
from ..methods import METHODS, find_method
from ..train import HOW, Plan

LARGEST = 2**20  # bytes; the largest settings.json, of a thousand classes, has 50,000
DEEPEST = 4  # levels of lists and tables
ASKED = tuple(f.name for f in fields(Plan) if f.name not in ("method", "settings", "settings_class"))
RECORDED = ("fingerprint", "dataset_path", "settings", "versions")  # by which a run's settings.json is known


def read_config(path: str | Path, method: str | Callable | None = None) -> dict[str, Any]:
    """The arguments of `train` that a file holds: `train("nrd", **read_config("settings.yaml"))`.

    Keys are those of `train` and the method's settings, at the top or in a table `settings`; without a value
    they count as not given. A file may name its `method`, which is not returned. The settings.json of a run
    asks for that run again. method: the one that is to be trained, a name or a function of one's own; None =
    the file's, else any. Raises FileNotFoundError, and ValueError in one sentence for another method's file,
    a key that does not exist, and what is no such file.
    """
    path = Path(path).expanduser()
    held = _parsed(path)
    if all(key in held for key in RECORDED):
        held = of_run(held, path)
    inner = held.pop("settings", None) or {}
    if not isinstance(inner, dict):
        raise ValueError(f"{path}: settings must be a table of names and values, not {inner!r}")
    if twice := sorted(set(held) & set(inner)):
        raise ValueError(f"{path} gives {twice[0]} twice, at the top and in settings: drop one")
    held |= inner
    named = held.pop("method", None)
    wanted = method if callable(method) else method or named
    if named is not None and not callable(method) and named != wanted:
        raise ValueError(
            f"{path} holds settings of {named}, not of {wanted}: train {named}, or drop its line method"
        )
    known = {*ASKED, *_settings_of(wanted)}
    if unknown := [key for key in held if key not in known]:
        raise ValueError(f"{path}: {_unknown(unknown[0], known, wanted)}")
    return {key: value for key, value in held.items() if value is not None}


def _settings_of(method: str | Callable | None) -> Iterable[str]:
    """The names of a method's settings, or of all methods'."""
    classes = [s for _, s in METHODS.values()] if method is None else [find_method(method)[2]]
    return {f.name for settings in classes for f in fields(settings)}


def _unknown(key: str, known: Iterable[str], method: str | Callable | None) -> str:
    """One sentence about a key that does not exist."""
    if key in HOW:
        return f"{key} says how a training is carried out, not what is trained: give it on the command line"
    owners = [name for name, (_, settings) in METHODS.items() if key in {f.name for f in fields(settings)}]
    if owners:
        return f"{key} is a setting of {', '.join(owners[:3])}{' ...' if owners[3:] else ''}, not of {method}"
    near = difflib.get_close_matches(key, sorted(known), 1, cutoff=0.0)
    return f"there is no setting {key!r}; the nearest name is {near[0]!r}"


def of_run(held: dict[str, Any], path: Path) -> dict[str, Any]:
    """The arguments that ask for a run again, from its settings.json.

    Raises ValueError for a run of a function of one's own, which the file does not hold.
    """
    if held.get("method") not in METHODS:
        raise ValueError(
            f"{path} is of {held.get('method')!r}, a function of one's own: pass that to train, with its "
            "settings"
        )
    asked = {key: held[key] for key in ASKED if key in held}
    asked |= {"method": held["method"], "settings": held["settings"], "dataset": held["dataset_path"]}
    asked["labels"] = held.get("labels_file")
    asked["features"] = held.get("features") or "none"  # also where the preset has some
    if not str(held["dataset_path"]).startswith(OWN):
        asked.pop("like", None)  # of a built-in set it is the set itself
    if held.get("noise") == "matrix":
        asked["noise"] = f"matrix:{held.get('noise_file')}"
    if held.get("noise") in ("none", "human", "matrix"):
        asked.pop("rate", None)
    if not held.get("clean_list"):
        asked["clean_share"] = held.get("clean_share") or 0.0  # also where the method asks for some
    if "train_size" not in held:  # an older version kept the number of images alone
        asked["train_size"] = _before_holding_out(held["train_images"], held.get("noisy_val") or 0.0)
    return asked


def _before_holding_out(left: int, share: float) -> int:
    """The number of images of which `left` remain when round(share * n) are held out."""
    near = round(left / (1 - share))
    return next((n for n in (near, near - 1, near + 1) if n - round(share * n) == left), near)


# ---- files


def _parsed(path: Path) -> dict[str, Any]:
    """What a file holds: a table of names and values, as deep as DEEPEST."""
    readers: dict[str, Callable[[str], Any]] = {
        ".yaml": lambda text: yaml.load(text, Loader=Plain),  # a SafeLoader that takes less
        ".yml": lambda text: yaml.load(text, Loader=Plain),
        ".json": lambda text: json.loads(text, object_pairs_hook=_once),
        ".toml": tomllib.loads,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path} is no file of settings: its name must end in {', '.join(readers)}")
    try:
        held = readers[path.suffix.lower()](read_file(path, LARGEST).decode("utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of settings {path}") from None
    except (ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} cannot be read as {path.suffix[1:].upper()}: {reason}") from None
    if not isinstance(held, dict) or not all(isinstance(key, str) for key in held):
        raise ValueError(f"{path} is no table of names and values, such as `epochs: 20`")
    if _depth(held) > DEEPEST:
        raise ValueError(f"{path} is deeper than {DEEPEST} levels, which no settings are")
    return held


def _depth(value: Any) -> int:
    """How many lists and tables stand in one another."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
        if depth > DEEPEST:
            break
    return depth


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of JSON. Raises ValueError for a name that it gives twice."""
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} is given twice")
    return dict(pairs)


class Plain(yaml.SafeLoader):
    """YAML as people who write settings mean it, which is that of version 1.2: `1e-4` is a number, `off` and
    `no` are words, `010` is ten. No name twice, and no aliases, by which a small file can mean a huge one.
    """

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        return _once(
            [
                (self.construct_object(k, deep=True), self.construct_object(v, deep=True))
                for k, v in node.value
            ]
        )


Plain.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    Plain.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
Plain.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
Plain.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node)))
