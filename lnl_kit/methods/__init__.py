"""Every method: name -> (train function, settings class). Adding one = one file, and its name in MODULES.

What else the kit wants to know of a method (family, number of networks, colour, paper) stands in its settings
class; the tables below are made from it.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable

from ..run.settings import Settings

# Each file says by its own METHODS which names it has. Their order is that of lists and menus.
MODULES = (
    "nrd",
    "pu_distill",
    "label_confidence",
    "flywheel",
    "robust_features",
    "loss_only",
    "peer",
    "rrm",
    "linear_probe",
    "elr",
    "sop",
    "correction",
    "volminnet",
    "joint_optimization",
    "pencil",
    "m_correction",
    "pes",
    "disc",
    "cores_star",
    "early_cutting",
    "co_teaching",
    "promix",
    "dividemix",
    "unicon",
)
METHODS: dict[str, tuple[Callable[..., None], type[Settings]]] = {
    name: method
    for module in MODULES
    for name, method in importlib.import_module(f"{__name__}.{module}").METHODS.items()
}
BASELINE = "ce"  # what the others are compared with: plain cross-entropy


def of_family(family: str) -> tuple[str, ...]:
    """The methods of a family."""
    return tuple(name for name, (_, settings) in METHODS.items() if settings.family == family)


FAMILIES = {f: of_family(f) for f in dict.fromkeys(s.family for _, s in METHODS.values())}
FIVE = FAMILIES["the five papers"]
TWO_NETWORKS = tuple(name for name, (_, settings) in METHODS.items() if settings.networks == 2)


def family(method: str) -> str:
    """What a method works by, a key of FAMILIES; of a function in a notebook "your own"."""
    return METHODS[method][1].family if method in METHODS else Settings.family


def find_method(
    method: str | Callable, settings_class: type[Settings] = Settings
) -> tuple[str, Callable, type[Settings]]:
    """(name, train function, settings class) of a built-in name or of a function of one's own.

    Raises ValueError for a name that does not exist, and for a built-in function passed as one's own.
    """
    if isinstance(method, types.FunctionType):
        if any(method is known for known, _ in METHODS.values()) and settings_class is Settings:
            raise ValueError(
                f"{method.__name__} is built in: ask for it by its name, one of {', '.join(METHODS)}"
            )
        return method.__name__.removeprefix("train_"), method, settings_class
    if method not in METHODS:
        raise ValueError(f"method {method!r} does not exist: {', '.join(METHODS)}")
    return method, *METHODS[method]
