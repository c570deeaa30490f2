"""What all launchers have in common: what is asked for, what comes back, and a task whose worker dies.

A launcher hands tasks to an engine that exists and says how each ended, as it ends, wherever it ran. What a
task leaves behind is its own affair: a training has its run folder, from which the next worker goes on.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..data.parallel import cores
from ..files import RunError

PACKAGES = {"local": "joblib", "dask": "distributed", "ray": "ray", "slurm": "submitit"}
NAMES = tuple(PACKAGES)
TRIES = 20  # workers that may die of one task, until it is given up: it may be what kills them


@dataclass(frozen=True)
class Resources:
    """What a task needs: CPUs (its threads, so that numbers are the same on every machine), GPUs where the
    engine has some, memory in GB.
    """

    cpus: int = 1
    gpus: int = 0
    memory: float = 2.0


# what a preset's runs ask for; one that is not named here asks for what `paper` does
BY_PRESET = {
    "quick": Resources(1, 0, 2),
    "demo": Resources(1, 0, 4),
    "memorise": Resources(2, 1, 8),
    "photographs": Resources(4, 1, 16),
    "paper": Resources(4, 1, 16),
}


def resources_of(preset: str, device: str = "auto") -> Resources:
    """What a run of this preset asks for; none of the GPUs where its device is the CPU."""
    found = BY_PRESET.get(preset.partition(":")[0], BY_PRESET["paper"])
    return Resources(found.cpus, 0 if device == "cpu" else found.gpus, found.memory)


class Ended(NamedTuple):
    """How a task ended: what it returned, or what went wrong."""

    number: int
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True)
class Asked:
    """A launcher and where it is: `dask:tcp://host:8786`, `slurm:partition=gpu`."""

    name: str = "local"
    where: str = ""

    @property
    def options(self) -> dict[str, str]:
        """`NAME=VALUE,NAME=VALUE` as a dictionary."""
        pairs = [part.partition("=") for part in self.where.split(",") if part]
        return {name.strip(): value.strip() for name, _, value in pairs}


@dataclass
class Tasks:
    """What a launcher is to carry out: `task(*arguments[n])` for each n, at most `jobs` at a time where that
    many are asked for (0 = as many as there is room for). folder: one that every machine sees.
    """

    task: Callable
    arguments: Sequence[tuple]
    resources: Resources
    jobs: int
    folder: Path
    died: dict[int, int] = field(default_factory=dict)

    def again(self, number: int, why: object) -> Ended | None:
        """A task's worker died: None where it is to be tried again, else how it ended."""
        self.died[number] = self.died.get(number, 0) + 1
        if self.died[number] < TRIES:
            return None
        return Ended(
            number, error=RunError(f"{TRIES} workers died of it, for lack of memory perhaps ({why})")
        )


class Launcher(Protocol):
    """One engine: a generator of what ends, in the order in which it does; closing it (Ctrl-C does) stops
    what still runs. What a task raises comes back as its error; a task whose worker died goes to another one.
    """

    def __call__(self, asked: Asked, tasks: Tasks) -> Generator[Ended, None, None]:
        """Carry out tasks."""


def asked_for(launcher: str | None) -> Asked:
    """`NAME[:WHERE]` as it is typed; None = local. Raises ValueError with one sentence."""
    name, _, where = (launcher or "local").partition(":")
    if name not in NAMES:
        raise ValueError(
            f"launcher {name!r} does not exist: local, dask[:ADDRESS], ray[:ADDRESS], "
            "slurm[:OPTION=VALUE,...]"
        )
    if name == "local" and where:
        raise ValueError(f"launcher {launcher!r}: local has no address; --jobs says how many processes")
    if importlib.util.find_spec(PACKAGES[name]) is None:
        raise ValueError(
            f"--launcher {name} needs the package {PACKAGES[name]}: pip install {PACKAGES[name]}, or the "
            f"kit with its extra, pip install -e .[{name}]"
        )
    return Asked(name, where)


def launch(
    asked: Asked,
    task: Callable,
    arguments: Sequence[tuple],
    resources: Resources,
    *,
    jobs: int = 0,
    folder: Path,
) -> Generator[Ended, None, None]:
    """Yield how each `task(*arguments[n])` ended, as it ends. The task and what it takes and returns are
    pickled. Close the iterator (`contextlib.closing`) to stop what still runs.
    """
    if not arguments:
        return
    carry_out: Launcher = importlib.import_module(f".{asked.name}_", __package__).carry_out
    with contextlib.closing(carry_out(asked, Tasks(task, arguments, resources, jobs, folder))) as ended:
        yield from ended


def workers_wanted(tasks: Tasks) -> int:
    """How many workers are started here where no address is given."""
    room = tasks.jobs or max(1, cores() // tasks.resources.cpus)
    return min(room, len(tasks.arguments))


_asked_to_stop = threading.local()


@contextlib.contextmanager
def stoppable(asked: Callable[[], bool]) -> Iterator[None]:
    """Within, `stop_if_asked` asks this, for engines that cannot interrupt a thread."""
    _asked_to_stop.ask = asked
    try:
        yield
    finally:
        del _asked_to_stop.ask


def stop_if_asked(*_: object) -> None:
    """Raise KeyboardInterrupt where whoever launched this task wants it no more; what a task calls where it
    can stop without loss (as `on_epoch` of a training).
    """
    ask = getattr(_asked_to_stop, "ask", None)
    if ask is not None and ask():
        raise KeyboardInterrupt
