"""The commands lnl tune and lnl lab."""

from __future__ import annotations

import argparse
import sys

from ..methods import listed
from ..run.flags import FOLDERS, LABELS, share


def add_tune(add: argparse.ArgumentParser) -> None:
    """`lnl tune`."""
    known = [method.name for method in listed()]
    add.epilog = "which settings it varies, and how far, says the method's file (Settings.search)"
    add.add_argument("method", choices=known, metavar="METHOD", help=f"one of: {', '.join(known)}")
    add.add_argument("--trials", type=int, default=20, help="how many in all, those of an earlier call too")
    share(add, "--dataset", "--noise", "--rate", "--preset", "--seed", "--model", "--train-size", "--epochs")
    share(add, "--features", "--feature-views", "--image-size", *LABELS, "--like", "--clean-share")
    share(add, "--clean-list", *FOLDERS, "--device", "--precision", "--out")
    share(add, "--noisy-val", noisy_val={"default": 0.1})
    add.add_argument(
        "--csv",
        metavar="FILE",
        help="then train the best settings on all images, and add a row for each of --seeds, marked as tuned",
    )
    add.add_argument("--seeds", default="0", help="of these rows, separated by commas")
    add.set_defaults(command=tune_command)


def tune_command(options) -> int:
    """`lnl tune`: the trials from the best down, and the flags of the best."""
    from .tune import keep, line, tune

    ask = {k: v for k, v in vars(options).items() if v is not None and k != "command"}
    trials, csv, seeds = ask.pop("trials"), ask.pop("csv", None), ask.pop("seeds")
    found = tune(trials=trials, **ask)
    good = sorted((t for t in found.trials if t["value"] is not None), key=lambda t: -t["value"])
    for trial in good[:10]:
        print(line(found.trials.index(trial) + 1, trial))
    failed = len(found.trials) - len(good)
    print(f"{len(found.trials)} trials, {failed} failed, {found.seconds:.0f} s; best:")
    print(" ".join(f"--{k.replace('_', '-')} {v}" for k, v in found.best.items()))
    del ask["noisy_val"]
    for row in keep(found, [int(s) for s in seeds.split(",")], csv, **ask) if csv else ():
        print(f"seed {row['seed']}: last {row['test_accuracy_last']:.3f}", file=sys.stderr)
    return 0


def add_lab(add: argparse.ArgumentParser) -> None:
    """`lnl lab`."""
    add.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="where the notebooks are copied; what you changed there is left as it is; default lnl-notebooks "
        "in the current folder, in a clone its own notebooks, in place",
    )
    add.add_argument(
        "--lesson",
        metavar="N",
        help="lessons made from the notebooks, of at most 45 minutes, with gaps to fill, in place of the "
        "notebooks: 1 to 6, several as 1,3 or 1..6; FOLDER is then lnl-lessons by default",
    )
    add.add_argument(
        "--solutions",
        action="store_true",
        help="for the teacher: the gaps filled, and a page of notes a lesson; FOLDER is then "
        "lnl-lessons-teacher",
    )
    add.add_argument("--copy-only", action="store_true", help="copy the notebooks, and print the folder")
    add.add_argument("--no-browser", action="store_false", dest="browser", help="only print the address")
    add.add_argument("--port", type=int, default=8888, help="the first that is tried")
    add.add_argument("--allow-root", action="store_true", help="also as root, whose kernels may do anything")
    add.set_defaults(command=lab_command)


def lab_command(options) -> int:
    """`lnl lab`."""
    from .lab import lab

    return lab(**{k: v for k, v in vars(options).items() if k != "command"})
