"""The commands for many runs at once: lnl compare and lnl reproduce."""

from __future__ import annotations

import argparse
import sys

from ..methods import listed
from ..run.flags import LABELS, share


def add_compare(add: argparse.ArgumentParser) -> None:
    """`lnl compare`."""
    controls = ", ".join(f"{method.name}:{control}" for method in listed() for control in method.controls)
    add.add_argument(
        "methods",
        help="separated by commas, or all; METHOD:CONTROL is a method without its idea "
        f"({controls}): {', '.join(method.name for method in listed())}",
    )
    add.add_argument(
        "--noise",
        help="NOISE:RATE, separated by commas; none; default symmetric:0.5,symmetric:0.8 and, where pairs "
        "of classes are known, asymmetric:0.4; with --labels none",
    )
    add.add_argument("--seeds", default="0", help="separated by commas")
    share(
        add,
        "--dataset",
        "--preset",
        *LABELS,
        "--clean-share",
        "--epochs",
        "--train-size",
        "--jobs",
        "--out",
        jobs={"default": None},
    )
    share(add, "--model", "--features", "--feature-views", feature_views={"default": None})
    share(add, "--open-set", "--imbalance", "--annotators", open_set={"default": None})
    share(add, "--config", "--dry-run", "--track", "--launcher", "--store")
    add.add_argument(
        "--csv", metavar="FILE", help="add a row as each cell ends, and skip the cells that FILE has"
    )
    add.set_defaults(command=compare_command)


def compare_command(options) -> int:
    """`lnl compare`: 0, or 1 where cells failed."""
    from ..compare import compare
    from ..data import OWN, resolve
    from ..methods import METHODS

    values = {k: v for k, v in vars(options).items() if k not in ("command", "argv", "config")}
    values["dataset"] = resolve(values["dataset"])
    methods = list(METHODS) if values["methods"] == "all" else values["methods"].split(",")
    if values["methods"] == "all":
        on_features = values["features"] not in (None, "none")
        needs = "needs_pixels" if on_features else "needs_features"
        left_out = [m for m in methods if getattr(METHODS[m][1], needs)]
        methods = [m for m in methods if m not in left_out]
        what = "features" if on_features else "images (--features)"
        print(f"left out: {', '.join(left_out)}, which cannot train on {what}", file=sys.stderr)
    try:
        asked = values.pop("noise") or (
            "none"
            if values["labels"]
            else "symmetric:0.5,symmetric:0.8"
            if values["dataset"].startswith(OWN)
            else "symmetric:0.5,symmetric:0.8,asymmetric:0.4"
        )
        noises = [
            (kind, float(rate) if rate else None)
            for kind, _, rate in (n.partition(":") for n in asked.split(","))
        ]
        seeds = [int(seed) for seed in values.pop("seeds").split(",")]
    except ValueError:
        raise ValueError(
            "--noise takes NOISE:RATE and --seeds whole numbers, separated by commas: "
            "--noise symmetric:0.5,none --seeds 0,1"
        ) from None
    try:
        return compare(**values | {"methods": methods, "noises": noises, "seeds": seeds})
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on where each cell is", file=sys.stderr)
        return 130


def add_reproduce(add: argparse.ArgumentParser) -> None:
    """`lnl reproduce`."""
    add.add_argument(
        "notebooks", nargs="*", metavar="NOTEBOOK", help="name or number, such as 20; default: all"
    )
    add.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the notebooks, such as -p rate=0.8; may be repeated; -p rate=0.2,0.5 runs "
        "a copy for each value",
    )
    add.add_argument("--timeout", type=int, default=3600, help="seconds that a cell may take")
    preset = {"default": None, "help": "the same as -p preset=..."}
    share(add, "--preset", "--out", "--fresh", "--jobs", "--launcher", "--track", preset=preset)
    add.set_defaults(command=reproduce_command)


def reproduce_command(options) -> int:
    """`lnl reproduce`."""
    from ..reproduce.batch import reproduce

    pairs = [p.partition("=") for p in options.parameters]
    for name, equals, _ in pairs:
        if not equals:
            raise ValueError(f"-p {name} is not of the form NAME=VALUE")
    return reproduce(
        options.notebooks or None,
        {n: v for n, _, v in pairs},
        preset=options.preset,
        out=options.out,
        timeout=options.timeout,
        fresh=options.fresh,
        jobs=options.jobs,
        launcher=options.launcher,
        track=options.track,
    )
