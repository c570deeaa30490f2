"""The training recipe that every method's settings share, and how settings become help texts and JSON."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

PRECISIONS = ("auto", "bf16", "fp32")
COMPILES = ("auto", "off", "default", "reduce-overhead", "max-autotune")
KEEPS = ("features", "weights", "margins")  # what a run can keep beside the usual


def refuse(condition: bool, sentence: str) -> None:
    """Raise `ValueError(sentence)` when `condition` holds."""
    if condition:
        raise ValueError(sentence)


class Bound(NamedTuple):
    """What a step of a method costs at least, for `lnl bench`.

    networks: for each network the views that it sees with gradient, those without, and whether a moving
        average of its weights is kept. cases: (network, image size) that are timed by default. settings: of
        the timed run. heads: (network, image shape, classes) -> the module that is trained in its place.
    against_usual: it is also timed against a usual loop (two views, PIL transforms, a DataLoader).
    """

    networks: tuple[tuple[int, int, bool], ...] = ((1, 0, False),)
    cases: tuple[tuple[str, int], ...] = ()
    settings: Mapping = MappingProxyType({})
    heads: Callable | None = None
    against_usual: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Recipe for stochastic gradient descent, the same for every method under `quick` and `demo`.

    Its values were chosen on digits so that cross-entropy fits its given labels, wrong ones among them, which
    is what the methods are up against: never by test labels.
    """

    epochs: int = 60  # passes over the training set
    batch_size: int = 128  # images per step; a last, partial batch is dropped
    learning_rate: float = 0.1  # of SGD, at the start
    weight_decay: float = 1e-4  # L2 penalty of SGD, on all weights
    momentum: float = 0.9  # of SGD
    nesterov: bool = False  # Nesterov's form of momentum
    schedule: str = "steps"  # of the learning rate: steps (at the milestones), or cosine (to 0, no restart)
    milestones: tuple[float, ...] = (0.7, 0.9)  # shares of the epochs after which the learning rate drops
    gamma: float = 0.1  # factor of each drop
    view: str = "crop"  # augmentation of the images that the supervised loss sees

    # What the kit asks about a method, each answered in the method's own file:
    told: ClassVar[tuple[str, ...]] = ()  # what the method is told beyond images and given labels
    clean_share: ClassVar[float] = 0.0  # share of labels known to be right that it asks for
    needs_features: ClassVar[bool] = False  # whether it trains on features only
    needs_pixels: ClassVar[str] = ""  # what it does with them, where it cannot train on features
    family: ClassVar[str] = "your own"  # what it works by, a heading of the leaderboard
    networks: ClassVar[int] = 1  # trained side by side
    bears_bf16: ClassVar[bool] = True  # False: `--precision auto` is float32 whatever the hardware
    color: ClassVar[str | None] = None  # of its curves, a name of figures.style; None = the next free one
    paper: ClassVar[str | None] = None  # whose cells `--preset paper` reads; None = that of the baselines
    photographs: ClassVar[Mapping] = MappingProxyType(
        {}
    )  # settings that were chosen on photographs, where they differ
    quick: ClassVar[Mapping] = MappingProxyType({})  # settings that `--preset quick`'s few steps change
    demo: ClassVar[Mapping] = MappingProxyType({})  # settings that `--preset demo` changes
    memorise: ClassVar[Mapping] = MappingProxyType({})  # that `--preset memorise` changes beside these
    # The same run without the method's idea, {name: the settings that take it away}: what a claim about the
    # idea is held against. `lnl compare METHOD:NAME` trains it.
    controls: ClassVar[Mapping[str, Mapping]] = MappingProxyType({})
    # What `lnl tune` may vary: {setting: (low, high), (low, high, "log"), or a list of choices}.
    search: ClassVar[Mapping[str, tuple | list]] = MappingProxyType(
        {"learning_rate": (0.003, 0.3, "log"), "weight_decay": (1e-5, 1e-2, "log")}
    )
    bound: ClassVar[Bound] = Bound()

    @classmethod
    def readings(cls, dataset: str, noise: str, rate: float, look: Callable[[str, str], dict]) -> dict:
        """Values of a `paper` cell that its paper does not give; the paper's own come before them.

        look: (method, paper) -> the settings that a paper prints for another method in the same cell.
        """
        return {}

    @classmethod
    def read_cell(cls, cell: dict, dataset: str) -> dict:
        """A `paper` cell with the paper's own quantities turned into settings of this class."""
        return cell

    def __post_init__(self):
        refuse(self.epochs < 1, f"epochs {self.epochs} is not allowed: at least 1")
        refuse(self.batch_size < 2, f"batch_size {self.batch_size} is not allowed: at least 2 (BatchNorm)")
        refuse(not self.learning_rate > 0, f"learning_rate {self.learning_rate} is not allowed: above 0")
        refuse(not self.weight_decay >= 0, f"weight_decay {self.weight_decay} is not allowed: 0 or more")
        refuse(not 0 <= self.momentum < 1, f"momentum {self.momentum} is outside [0, 1)")
        refuse(self.nesterov and self.momentum == 0, "nesterov needs a momentum above 0")
        refuse(not 0 < self.gamma <= 1, f"gamma {self.gamma} is outside (0, 1]")
        refuse(
            self.schedule not in ("steps", "cosine"),
            f"schedule {self.schedule!r} does not exist: steps or cosine",
        )
        refuse(
            any(not 0 < m < 1 for m in self.milestones),
            f"milestones {self.milestones} are not allowed: shares of the epochs, each inside (0, 1)",
        )


def field_help(settings_class: type) -> dict[str, str]:
    """{field: its one-line comment}, read from the source of the settings class and its bases."""
    comments: dict[str, str] = {}
    for cls in reversed(settings_class.__mro__):
        if dataclasses.is_dataclass(cls):
            try:
                source = inspect.getsource(cls)
            except OSError:  # a class typed into a plain interpreter has no source
                continue
            comments.update(re.findall(r"^    (\w+):[^\n]*?  # (.+)$", source, flags=re.M))
    return {f.name: comments.get(f.name, "") for f in dataclasses.fields(settings_class)}


def parse(field: dataclasses.Field, text: str):
    """The value of a settings field from a command-line text such as `0.2`, `true` or `0.2,0.6,0.2`."""
    kind = str(field.type)
    try:
        if kind == "float | str":  # a number, or the name of a rule that gives it
            try:
                return float(text)
            except ValueError:
                return text
        if kind.startswith("tuple"):
            number = int if "int" in kind else float
            return tuple(number(part) for part in text.strip("()[] ").split(",") if part.strip())
        if kind == "bool":
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                text.lower()
            ]
        if "float" in kind:
            return float(text)
        return int(text) if "int" in kind else text
    except (ValueError, KeyError):
        raise ValueError(
            f"--{field.name.replace('_', '-')} {text}: a value of type {kind} is needed"
        ) from None


def make(settings_class: type, **values):
    """Settings from keyword arguments; an unknown name is refused with the names that exist."""
    fields = {f.name: f for f in dataclasses.fields(settings_class)}
    unknown = sorted(set(values) - set(fields))
    refuse(bool(unknown), f"no setting named {', '.join(unknown)}: there are {', '.join(fields)}")
    for name, value in values.items():
        if hasattr(value, "item"):  # a number from NumPy or torch
            values[name] = value = value.item()
        if isinstance(value, list):
            values[name] = tuple(value)
        elif type(value) is int and str(fields[name].type) in ("float", "float | str"):
            values[name] = float(value)  # 1 and 1.0 ask for the same run
        refuse(
            not of_type(values[name], str(fields[name].type)),
            f"{name} {value!r} is not allowed: a value of type {fields[name].type} is needed",
        )
    return settings_class(**values)


def of_type(value, kind: str) -> bool:
    """Whether a value is of a field's type, named as it is written there; unknown types take all."""
    if kind.startswith("tuple[float"):
        return isinstance(value, tuple) and all(of_type(v, "float") for v in value)
    if isinstance(value, bool) or kind == "bool":
        known = ("int", "float", "float | str", "str", "bool")
        return kind not in known or (isinstance(value, bool) and kind == "bool")
    types: dict[str, Any] = {"int": int, "float": (int, float), "str": str}
    types["float | str"] = (int, float, str)
    return isinstance(value, types.get(kind, object))


def check_choices(seed, precision: str, compile: str, keep) -> tuple[int, tuple[str, ...]]:
    """(seed, keep) as a number and a tuple; what `train` does not know is refused in one sentence."""
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise ValueError(f"seed {seed!r} is not allowed: a whole number")
    for name, value, allowed in (
        ("precision", precision, PRECISIONS),
        ("compile", compile, (*COMPILES, "on")),
        *(("keep", k, KEEPS) for k in keep),
    ):
        if value not in allowed:
            raise ValueError(f"{name} {value!r} does not exist: {', '.join(allowed)}")
    return int(seed), keep
