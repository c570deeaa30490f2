"""The command line: `lnl --help` lists the commands."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from . import __version__
from .bench.commands import add_bench
from .board.commands import add_board
from .commands.grids import add_compare, add_reproduce
from .commands.parsers import add_lab, add_tune
from .doctor.commands import add_doctor
from .exports.commands import add_export, add_import
from .files import RunError
from .label_errors.commands import add_apply, add_check, add_find_errors
from .methods import listed
from .results.commands import add_collect
from .run.flags import FOLDERS, LABELS, Help, share
from .run.settings import field_help, parse
from .teaching.commands import add_grade

OUT_OF_MEMORY = (
    "there is not enough memory for that: smaller images (--image-size), fewer of them (--train-size) or a "
    "smaller batch take less; what was finished before is kept"
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. A user's error is one sentence on standard error."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser(argv)
    options = parser.parse_args(argv)
    try:
        if getattr(options, "config", None):
            options = configured(options, argv)
        if argv[:1] == ["train"]:
            options.argv = argv  # for the processes of its ranks
        status = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `lnl check photos | head`: whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RunError) as error:
        said = str(error)
        if isinstance(error, OSError) and error.errno and not error.filename:  # the system alone spoke
            said = f"a file cannot be read or written ({error.strerror})"
        print(f"lnl: {without_controls(said)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # of a command that has nothing more to say about it
        print("\nlnl: stopped", file=sys.stderr)
        return 130
    except (MemoryError, RuntimeError) as error:
        said = str(error)  # torch's, of the CPU and of a GPU
        if not isinstance(error, MemoryError) and not ("allocate memory" in said or "out of memory" in said):
            raise
        print(f"lnl: {OUT_OF_MEMORY}", file=sys.stderr)
        return 2


def without_controls(text: str) -> str:
    """A text for a terminal: what a file's name or cell could steer it with is written out."""
    return re.sub(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]", lambda sign: f"\\x{ord(sign[0]):02x}", text)


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong, without the list of all flags."""

    def error(self, message: str):
        self.exit(2, f"lnl: {message}; see {self.prog} --help\n")


class WithoutDefaults(Parser):
    """Tells only what was typed."""

    def add_argument(self, *names, **more):
        return super().add_argument(*names, **more | {"default": argparse.SUPPRESS})


def configured(options: argparse.Namespace, argv: list[str]) -> argparse.Namespace:
    """The options with what the file of --config says where nothing was typed."""
    from .commands.config import read_config

    typed = vars(make_parser(argv, WithoutDefaults).parse_args(argv))
    held = read_config(options.config, typed.get("method"))
    if "methods" in typed:  # lnl compare, whose --noise and --seeds are lists
        if "rate" in held:
            held["noise"] = f"{held.get('noise', 'symmetric')}:{held.pop('rate')}"
        held |= {"seeds": str(held.pop("seed"))} if "seed" in held else {}
    return argparse.Namespace(**vars(options) | held | typed)


def make_parser(argv: list[str], kind: type[Parser] = Parser) -> argparse.ArgumentParser:
    """The parser, with the flags of the command that is asked for; for `lnl train METHOD` a flag for each of
    the method's settings too. kind: of the command's own parser.
    """
    parser = Parser("lnl", description="Learning with noisy labels: train, reproduce, measure.")
    parser.add_argument("--version", action="version", version=f"lnl-kit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=kind)
    for name, (text, add_flags) in COMMANDS.items():
        add = commands.add_parser(name, help=text, description=text, formatter_class=Help)
        if argv[:1] == [name]:
            add_flags(add)
    if argv[:1] == ["train"] and (method := next((a for a in argv[1:] if a in names()), None)):
        add_settings(commands.choices["train"], method)
    return parser


@functools.cache
def names() -> tuple[str, ...]:
    """The names of the methods."""
    return tuple(method.name for method in listed())


def add_methods(add: argparse.ArgumentParser) -> None:
    """`lnl methods`."""
    add.set_defaults(command=list_methods)


def add_train(add: argparse.ArgumentParser) -> None:
    """`lnl train`, without the flags of a method's own settings."""
    add.epilog = "lnl train METHOD --help lists the method's own settings too, such as --epochs"
    add.add_argument("method", choices=names(), metavar="METHOD", help=f"one of: {', '.join(names())}")
    share(add, "--dataset", "--noise", "--rate", "--open-set", "--imbalance")
    share(add, "--preset", "--seed", "--model", "--train-size")
    share(add, "--features", "--feature-views")
    share(
        add,
        "--annotators",
        "--image-size",
        *LABELS,
        "--like",
        "--noisy-val",
        "--clean-share",
        "--clean-list",
        "--keep",
    )
    share(add, *FOLDERS, "--device", "--precision", "--compile", "--out", "--fresh", "--config", "--dry-run")
    share(add, "--devices", "--track", "--store")
    add.set_defaults(command=train_command)


def add_settings(add: argparse.ArgumentParser, method: str) -> None:
    """A flag for each settings field of the method, its comment as help."""
    from .methods import METHODS

    settings_class = METHODS[method][1]
    group = add.add_argument_group(f"settings of {method} (defaults of the preset `quick`)")
    helps = field_help(settings_class)
    for field in dataclasses.fields(settings_class):
        text = helps[field.name].replace("%", "%%")
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            metavar=str(field.type).split("[")[0].upper(),
            default=argparse.SUPPRESS,
            help=f"{text} [{show(settings_class.quick.get(field.name, field.default))}]",
        )


def show(value) -> str:
    """A default as it would be typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def train_command(options) -> int:
    """`lnl train`: 0 when finished, 130 after Ctrl-C; the run's folder is the last line of the output."""
    from .methods import METHODS
    from .run import launch
    from .train import Plan, train

    held = ("command", "argv", "config", "dry_run", "devices")
    values = {k: v for k, v in vars(options).items() if k not in held}
    method = values.pop("method")
    fields = {f.name: f for f in dataclasses.fields(METHODS[method][1])}
    typed = {k: v for k, v in values.items() if k in fields and isinstance(v, str)}
    values |= {k: parse(fields[k], v) for k, v in typed.items()}
    if options.dry_run:
        from .forecast import dry_run

        print(dry_run(method, **{k: v for k, v in values.items() if k != "fresh"}))
        return 0
    devices = launch.devices_of(options.devices) if options.devices else []
    if len(devices) > 1 and not launch.started():
        launch.check(options.compile, len(devices))
        Plan.of(method, **values).resolve()  # what is not allowed is said once
        return launch.start(options.argv, len(devices))
    folder: list[Path] = []
    try:
        with launch.joined(values["device"], devices) as values["device"]:
            run = train(method, **values, on_interrupt="raise", on_folder=folder.append)
            say_how_it_ended(method, run)
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from the last finished epoch", file=sys.stderr)
        if folder:
            print(folder[0])
        return 130
    return 0


def say_how_it_ended(method: str, run) -> None:
    """A sentence on standard error, and the folder."""
    s = run.summary or {}
    print(
        f"{method}: last {s['test_accuracy_last']:.4f}, best {s['test_accuracy_best']:.4f}, "
        f"{s['epochs']} epochs in {s['seconds']:.0f} s on {s['device']}",
        file=sys.stderr,
    )
    print(run.folder)


def list_methods(options) -> int:
    """`lnl methods`: one line each, the name first."""
    width = max(map(len, names()))
    for method in listed():
        print(f"{method.name:<{width}}  {method.summary}")
    return 0


# name -> (what stands in the list of commands, what gives its parser the flags)
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "methods": ("list the methods, a line each", add_methods),
    "train": ("train a method; the last line printed is the run's folder", add_train),
    "compare": ("train methods x noises x seeds, and print and keep one table", add_compare),
    "collect": ("one table of all finished runs under a root", add_collect),
    "board": ("leaderboard and curves of a root of runs, as a page that renews itself", add_board),
    "tune": ("choose a method's settings by the given labels of images held out", add_tune),
    "reproduce": ("run notebooks headlessly and write runs/reproduce/index.html", add_reproduce),
    "check": (
        "what train and find-errors would read of a folder, and what is odd; writes nothing",
        add_check,
    ),
    "find-errors": (
        "which labels of an image folder are probably wrong; prints the folder of errors.csv and report.html",
        add_find_errors,
    ),
    "apply": ("write the corrected labels of a review, for --labels; images are not touched", add_apply),
    "export": ("a run as a program with a model card, or findings for tools that label", add_export),
    "import-decisions": ("take over what people decided about findings in Label Studio", add_import),
    "lab": (
        "copy the notebooks, or lessons made from them, to a folder and open them in JupyterLab",
        add_lab,
    ),
    "grade": ("run and check a class's notebooks of the lessons, one table", add_grade),
    "doctor": ("what this machine has for the kit, what is missing and how to get it", add_doctor),
    "bench": ("speed of the full loop over that of the networks alone", add_bench),
}

if __name__ == "__main__":
    sys.exit(main())
