"""Controls: METHOD:CONTROL is a method without its idea, as its settings class says (`Settings.controls`)."""

from __future__ import annotations

import json

from ..methods import METHODS, find_method


def named(name: str) -> dict:
    """The arguments of `train` that `METHOD` or `METHOD:CONTROL` stands for.

    Raises ValueError where there is no such method, or no such control of it (`Settings.controls`).
    """
    method, _, control = name.partition(":")
    controls = find_method(method)[2].controls
    if control and control not in controls:
        known = f"has {', '.join(controls)}" if controls else "has none"
        raise ValueError(f"control {control!r} of {method} does not exist: {method} {known}")
    return {"method": method, **controls.get(control, {})}


def title(row: dict) -> str:
    """The name that stands for a measured row: METHOD, METHOD:CONTROL, or METHOD (tuned), see `lnl tune`."""
    if row.get("tuned"):
        return f"{row['method']} (tuned)"
    told = _told(row.get("asked"))
    controls = METHODS[row["method"]][1].controls if row["method"] in METHODS else {}
    for control, changes in controls.items():
        if all(told.get(k) == v for k, v in changes.items()):
            return f"{row['method']}:{control}"
    return row["method"]


def method_of(name: str) -> str:
    """The method that a title is about."""
    return name.partition(":")[0].partition(" ")[0]


def _told(asked: str | None) -> dict:
    """The arguments of a measured row; none where it has none, as rows of the first versions."""
    try:
        return dict(json.loads(asked or "{}"))
    except ValueError:
        return {}
