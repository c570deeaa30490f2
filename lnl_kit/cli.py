"""The command line: lnl train, compare, reproduce, check, find-errors, apply, export, bench, methods."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from . import __version__
from .data import OWN, resolve
from .exports.commands import add_export
from .files import RunError
from .label_errors.commands import add_apply, add_check, add_find_errors
from .methods import METHODS
from .run.flags import FOLDERS, LABELS, Help, share
from .run.settings import field_help, parse


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. A user's error is one sentence on standard error."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser(argv)
    options = parser.parse_args(argv)
    try:
        status = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `lnl check photos | head`: whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RunError) as error:
        print(f"lnl: {error}", file=sys.stderr)
        return 2


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong, without the list of all flags."""

    def error(self, message: str):
        self.exit(2, f"lnl: {message}; see {self.prog} --help\n")


def make_parser(argv: list[str]) -> argparse.ArgumentParser:
    """The parser; `lnl train METHOD` gets a flag per settings field of that method."""
    parser = Parser("lnl", description="Learning with noisy labels: train, reproduce, measure.")
    parser.add_argument("--version", action="version", version=f"lnl-kit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = commands.add_parser("methods", help="list the methods, a line each")
    add.set_defaults(command=list_methods)
    method = next((a for a in argv[1:] if a in METHODS), None) if argv[:1] == ["train"] else None
    add_train(commands, method)
    for add_command in (
        add_compare,
        add_reproduce,
        add_check,
        add_find_errors,
        add_apply,
        add_bench,
        add_export,
    ):
        add_command(commands)
    return parser


def add_train(commands, method: str | None) -> None:
    """`lnl train`, with the flags of the method's own settings."""
    add = commands.add_parser(
        "train",
        help="train a method; the last line printed is the run's folder",
        formatter_class=Help,
        epilog="lnl train METHOD --help lists the method's own settings too, such as --epochs",
    )
    add.add_argument("method", choices=METHODS, metavar="METHOD", help=f"one of: {', '.join(METHODS)}")
    share(add, "--dataset", "--noise", "--rate", "--preset", "--seed", "--model", "--train-size")
    share(add, "--features", "--feature-views")
    share(add, "--image-size", *LABELS, "--like", "--noisy-val", "--clean-share", "--clean-list", "--keep")
    share(add, *FOLDERS, "--device", "--precision", "--compile", "--out", "--fresh", "--track")
    if method:
        add_settings(add, method)
    add.set_defaults(command=train_command)


def add_settings(add: argparse.ArgumentParser, method: str) -> None:
    """A flag for each settings field of the method, its comment as help."""
    settings_class = METHODS[method][1]
    group = add.add_argument_group(f"settings of {method} (defaults of the preset `quick`)")
    helps = field_help(settings_class)
    for field in dataclasses.fields(settings_class):
        text = helps[field.name].replace("%", "%%")
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            metavar=str(field.type).split("[")[0].upper(),
            default=argparse.SUPPRESS,
            help=f"{text} [{show(field.default)}]",
        )


def add_compare(commands) -> None:
    """`lnl compare`."""
    add = commands.add_parser(
        "compare", help="train methods x noises x seeds, and print and keep one table", formatter_class=Help
    )
    add.add_argument(
        "methods",
        help="separated by commas, or all; METHOD:CONTROL is a method without its idea "
        f"({', '.join(f'{m}:{c}' for m, (_, s) in METHODS.items() for c in s.controls)}): "
        f"{', '.join(METHODS)}",
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
        "--track",
    )
    share(add, "--model", "--features", "--feature-views", feature_views={"default": None})
    add.add_argument(
        "--csv", metavar="FILE", help="add a row as each cell ends, and skip the cells that FILE has"
    )
    add.set_defaults(command=compare_command)


def add_reproduce(commands) -> None:
    """`lnl reproduce`."""
    add = commands.add_parser(
        "reproduce", help="run notebooks headlessly and write runs/reproduce/index.html"
    )
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
    share(add, "--preset", "--out", "--fresh", "--jobs", "--track", preset=preset)
    add.set_defaults(command=reproduce_command)


def add_bench(commands) -> None:
    """`lnl bench`."""
    add = commands.add_parser("bench", help="speed of the full loop over that of the networks alone")
    add.add_argument("--json", metavar="FILE", help="write the rows there too")
    add.add_argument("--quick", action="store_true", help="small networks and few repeats")
    add.add_argument("--only", metavar="TEXT", default="", help="only the rows whose name contains TEXT")
    share(add, "--device")
    add.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out of what the bound tries"
    )
    add.set_defaults(command=bench_command)


def show(value) -> str:
    """A default as it would be typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def train_command(options) -> int:
    """`lnl train`: 0 when finished, 130 after Ctrl-C; the run's folder is the last line of the output."""
    from .train import train

    values = vars(options).copy()
    values.pop("command")
    method = values.pop("method")
    fields = {f.name: f for f in dataclasses.fields(METHODS[method][1])}
    values = {k: parse(fields[k], v) if k in fields else v for k, v in values.items()}
    folder: list[Path] = []
    try:
        run = train(method, **values, on_interrupt="raise", on_folder=folder.append)
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from the last finished epoch", file=sys.stderr)
        if folder:
            print(folder[0])
        return 130
    s = run.summary or {}
    print(
        f"{method}: last {s['test_accuracy_last']:.4f}, best {s['test_accuracy_best']:.4f}, "
        f"{s['epochs']} epochs in {s['seconds']:.0f} s on {s['device']}",
        file=sys.stderr,
    )
    print(run.folder)
    return 0


def list_methods(options) -> int:
    """`lnl methods`: one line each, the name first."""
    width = max(map(len, METHODS))
    for name, (_, settings_class) in METHODS.items():
        print(f"{name:<{width}}  {(settings_class.__doc__ or '').splitlines()[0]}")
    return 0


def compare_command(options) -> int:
    """`lnl compare`: 0, or 1 where cells failed."""
    from .compare import compare

    values = vars(options).copy()
    values.pop("command")
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
    return compare(**values | {"methods": methods, "noises": noises, "seeds": seeds})


def reproduce_command(options) -> int:
    """`lnl reproduce`."""
    from .reproduce.batch import reproduce

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
        track=options.track,
    )


def bench_command(options) -> int:
    """`lnl bench`."""
    from .bench.loop import bench

    return bench(
        json_file=options.json,
        quick=options.quick,
        only=options.only,
        device=options.device,
        compile=not options.no_compile,
    )


if __name__ == "__main__":
    sys.exit(main())
