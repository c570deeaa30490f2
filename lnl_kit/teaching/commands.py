"""The command lnl grade."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_grade(add: argparse.ArgumentParser) -> None:
    """`lnl grade`."""
    add.epilog = "a learner's code runs in a process with limits; README, Teaching, says what they are"
    add.add_argument("folder", metavar="FOLDER", help="the class's notebooks, *.ipynb at any depth")
    add.add_argument("--csv", metavar="FILE", help="write the table there too: a row a notebook")
    add.add_argument("--details", action="store_true", help="every sentence and every error, by learner")
    add.add_argument("--seconds", type=int, default=600, help="that a notebook may take [600]")
    add.add_argument("--cell-seconds", type=int, default=120, help="that a cell may take [120]")
    add.add_argument("--memory", type=float, default=4, metavar="GIB", help="of a notebook's process [4]")
    add.add_argument(
        "--no-warm",
        action="store_false",
        dest="warm",
        help="each notebook trains its own runs, where the lesson's are otherwise trained once",
    )
    add.set_defaults(command=grade_command)


def grade_command(options) -> int:
    """`lnl grade`: 0, whatever the learners' notebooks hold."""
    from ..files import csv_bytes, save_atomically
    from .grade import grade
    from .limits import Limits
    from .table import as_rows, details, table

    if min(options.seconds, options.cell_seconds) < 1 or not 0.25 <= options.memory <= 1024:
        raise ValueError("--seconds and --cell-seconds are at least 1, --memory is 0.25 to 1024 GiB")
    limits = Limits(options.seconds, options.cell_seconds, int(options.memory * 2**30))
    rows = []
    for row in grade(Path(options.folder).expanduser(), limits, options.warm):
        rows.append(row)
        print(f"{len(rows)}: {row.learner}, {row.seconds:.0f} s", file=sys.stderr)
    if options.details:
        print(details(rows), end="\n\n")
    print(table(rows))
    if options.csv:
        save_atomically(Path(options.csv), csv_bytes(as_rows(rows), ("learner",)))
    return 0
