"""Packages whose public names are imported when they are first asked for: torch takes seconds to import."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping
from typing import Any


class Lazy(types.ModuleType):
    """A package that knows where its public names are (`_HOME`: name -> the module below it that has it)."""

    _HOME: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self._HOME:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{self.__name__}.{self._HOME[name]}"), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """`lnl_kit.train` is the function, although the module that it lies in has that name too."""
        if isinstance(value, types.ModuleType) and self._HOME.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


def lazily(package: str, home: Mapping[str, str]) -> None:
    """Import each public name of a package only when it is asked for. home: see `Lazy`."""
    module: Any = sys.modules[package]
    module._HOME = home
    module.__class__ = Lazy
