"""Many independent tasks, here or elsewhere: `--launcher local | dask | ray | slurm`, a file each."""

from .common import (
    NAMES,
    TRIES,
    Asked,
    Ended,
    Launcher,
    Resources,
    asked_for,
    launch,
    resources_of,
    stop_if_asked,
)

__all__ = [
    "NAMES",
    "TRIES",
    "Asked",
    "Ended",
    "Launcher",
    "Resources",
    "asked_for",
    "launch",
    "resources_of",
    "stop_if_asked",
]
