"""What this machine has for the kit, what is missing, and the one command that gets it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from ..files import data_root, installed, runs_root, shipped
from ..files.places import PACKAGE
from .devices import of_torch, without_torch

OLDEST = (3, 11)  # of Python; pyproject.toml has the same, as a test sees
ROOM = 1e9  # bytes that a root of runs should have free: a run of 50,000 images keeps some 100 MB
TOLD = ("LNL_RUNS", "LNL_DATA", "LNL_PRECISION", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
LOOK = 0.15  # seconds for counting the files of a folder
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOR_TESTS = ("dev", "test")
# name -> (what lies in the data folder, how to get it). One command where there is one.
SETS = {
    "cifar10": ("cifar-10-batches-py", "lnl check cifar10  (downloads 170 MB)"),
    "cifar100": ("cifar-100-python", "lnl check cifar100  (downloads 169 MB)"),
    "human labels of cifar10": ("CIFAR-10_human.pt", "see the data page below"),
    "human labels of cifar100": ("CIFAR-100_human.pt", "see the data page below"),
    "cifar10-jpeg": ("cifar10-jpeg", "see the data page below"),
    "tiny_imagenet": ("tiny-imagenet-200", "see the data page below"),
    "clothing1m": ("clothing1m", "see the data page below"),
    "webvision": ("webvision", "see the data page below"),
}


def examine(full: bool = False) -> dict[str, Any]:
    """What there is, as plain values: what `lnl doctor --json` prints.

    `needed`: [{what, get}] without which the kit does not work here; `optional`: the same of what it can do
    without. full: torch is imported and asked about its devices and threads, and bfloat16 is timed; otherwise
    the system is asked, which takes a fraction of a second. Of the environment only TOLD is read out, and the
    home folder is called ~.
    """
    needed: list[dict[str, str]] = []
    packages, extras = _packages(needed)
    found = {
        "lnl_kit": {
            "version": __version__,
            "from": "a wheel" if installed() else "a clone",
            "at": _short(PACKAGE.parent),
        },
        "python": {"version": platform.python_version(), "at": _short(Path(sys.executable))},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": packages,
        "devices": of_torch(needed) if full else without_torch(needed),
        "threads": _threads(),
        "environment": {name: _short(os.environ[name]) for name in TOLD if name in os.environ},
        "folders": _folders(needed),
        "extras": extras,
        "data": _data(),
        "notebooks": {
            "at": _short(shipped("notebooks")),
            "number": len([*shipped("notebooks").glob("*.ipynb")]),
        },
        "browser": next((_short(p) for name in BROWSERS if (p := shutil.which(name))), None),
        "data_page": _short(shipped("data/README.md")),
    }
    if sys.version_info < OLDEST:
        needed.append(
            {"what": "Python 3.11 or newer", "get": "make PYTHON=python3.12, or another installation"}
        )
    return found | {"needed": needed, "optional": _optional(found)}


def _short(path: str | Path) -> str:
    """A path without the name of who is at home there."""
    home, text = str(Path.home()), str(path)
    return "~" + text[len(home) :] if len(home) > 1 and text.startswith(home) else text


# ---- packages


class Needed(NamedTuple):
    """A package and the versions that will do, as pyproject.toml writes them: ">=2,<3"."""

    name: str
    bounds: str

    @classmethod
    def of(cls, line: str) -> Needed:
        """From `torch>=2.9,<3`, `cleanlab[datalab]`, `x (>=1) ; extra == "y"`."""
        name, _, rest = re.match(r"\s*([\w.-]+)(\[[^]]*\])?(.*)", line.partition(";")[0]).groups()  # type: ignore
        return cls(name, rest.strip(" ()"))

    def allows(self, version: str) -> bool:
        """Whether a version lies within the bounds, of which pyproject.toml has `>=` and `<` alone."""

        def numbers(text: str) -> list[int]:
            found = [int(n) for n in re.findall(r"\d+", text.partition("+")[0])[:3]]
            return found + [0] * (3 - len(found))

        pairs = re.findall(r"(>=|<)\s*([\d.]+)", self.bounds)
        return all((numbers(version) >= numbers(b)) == (sign == ">=") for sign, b in pairs)


def requirements() -> dict[str, list[Needed]]:
    """{extra, "" for what is always needed: its requirements}: of pyproject.toml in a clone, else of the
    installed package.
    """
    project = PACKAGE.parent / "pyproject.toml"
    if not installed() and project.is_file():
        told = tomllib.loads(project.read_text("utf-8"))["project"]
        listed = {"": told["dependencies"], **told["optional-dependencies"]}
        return {extra: [Needed.of(line) for line in lines] for extra, lines in listed.items()}
    found: dict[str, list[Needed]] = {"": []}
    for line in importlib.metadata.requires("lnl-kit") or ():
        extra = re.search(r"""extra == ["']([\w-]+)["']""", line)
        found.setdefault(extra[1] if extra else "", []).append(Needed.of(line))
    return found


def _packages(needed: list) -> tuple[dict[str, str | None], dict[str, dict]]:
    """(version of each package that is needed, None = missing; each extra with what it lacks)."""
    listed = requirements()
    versions = {r.name: _version(r.name) for r in listed[""]}
    for r in listed[""]:
        version = versions[r.name]
        if version is None or not r.allows(version):
            what = f"{r.name}{r.bounds}" + (f", here is {version}" if version else "")
            needed.append({"what": what, "get": f"pip install '{r.name}{r.bounds}'"})
    extras = {}
    for extra, some in listed.items():
        if extra and extra != "all" and extra not in FOR_TESTS:
            lacking = [r.name for r in some if _version(r.name) is None]
            extras[extra] = {"there": not lacking, "lacks": lacking}
    return versions, extras


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


# ---- threads


def _threads() -> dict[str, Any]:
    """Cores of the machine, those that this process may use, and torch's threads."""
    told: dict[str, Any] = {"cpus": os.cpu_count()}
    if hasattr(os, "sched_getaffinity"):
        told["usable"] = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    words = quota.read_text().split() if quota.is_file() else ["max"]
    if words[0] != "max":
        told["quota"] = round(int(words[0]) / int(words[1]), 2)
    if torch := sys.modules.get("torch"):
        told["torch"] = torch.get_num_threads()
    return told


# ---- folders and data


def _folders(needed: list) -> dict[str, dict]:
    """Where the kit writes, how much lies there, and how full those disks are."""
    found = {}
    for name, place in (("runs", runs_root()), ("data", data_root()), ("cache", data_root() / "cache")):
        place = place.absolute()
        above = next(p for p in (place, *place.parents) if p.exists())  # a folder that is made when needed
        disk = shutil.disk_usage(above)
        files, size, whole = _size(place)
        found[name] = {
            "at": _short(place),
            "there": place.is_dir(),
            "writable": above.is_dir() and os.access(above, os.W_OK),
            "files": files,
            "mb": round(size / 1e6, 1),
            "counted_whole": whole,
            "disk_free_gb": round(disk.free / 1e9, 1),
            "disk_full": round(1 - disk.free / disk.total, 3),
        }
        if not found[name]["writable"] and name != "cache":
            get = f"export LNL_{name.upper()}=FOLDER, one that you may write to"
            needed.append(
                {"what": f"a folder for {name} that can be written ({_short(place)} cannot)", "get": get}
            )
        if name == "runs" and disk.free < ROOM:
            get = f"make room on the disk of {_short(place)}, or export LNL_RUNS=FOLDER on another one"
            needed.append({"what": f"disk space for runs ({disk.free / 1e6:.0f} MB are free)", "get": get})
    return found


def _size(folder: Path) -> tuple[int, int, bool]:
    """(files, bytes, whether all were counted) below a folder: a large one is not walked to its end."""
    files = size = 0
    end = time.perf_counter() + LOOK
    for file in _below(folder):
        if time.perf_counter() > end:
            return files, size, False
        files, size = files + 1, size + file.stat(follow_symlinks=False).st_size
    return files, size, True


def _below(folder: Path) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _below(Path(entry.path))
                else:
                    yield entry
    except OSError:  # one that is not there, or not ours to read
        return


def _data() -> dict[str, bool]:
    """Which data sets are there, by name."""
    there = {name: (data_root() / inside).exists() for name, (inside, _) in SETS.items()}
    return {"digits": _version("scikit-learn") is not None, **there}


def _optional(found: dict) -> list[dict[str, str]]:
    """[{what, get}] of what is missing and can be done without."""
    missing = [
        {"what": f"extra {extra} ({', '.join(told['lacks'])})", "get": f"pip install 'lnl-kit[{extra}]'"}
        for extra, told in found["extras"].items()
        if not told["there"]
    ]
    missing += [{"what": name, "get": SETS[name][1]} for name, there in found["data"].items() if not there]
    if not found["notebooks"]["number"]:
        missing.append(
            {"what": "the notebooks", "get": "pip install --force-reinstall lnl-kit, or a whole clone"}
        )
    if not found["browser"]:
        get = "apt-get install chromium, or Chrome  (figures as PNG)"
        missing.append({"what": "a browser that draws figures", "get": get})
    return missing
