"""The command lnl collect."""

from __future__ import annotations

import argparse
import sys


def add_collect(add: argparse.ArgumentParser) -> None:
    """`lnl collect`."""
    add.epilog = "what was read is kept in ROOT/.lnl-index.sqlite: the next time only what changed is read"
    add.add_argument("root", metavar="ROOT", help="a root of runs, as --out of lnl train and lnl compare")
    add.add_argument(
        "--csv",
        required=True,
        metavar="FILE",
        help="the table: rows of the same runs are renewed, others stay",
    )
    add.set_defaults(command=collect_command)


def collect_command(options) -> int:
    """`lnl collect`: 0, or 1 where folders are damaged, which it names."""
    from .collect import collect

    done = collect(options.root, options.csv)
    older = f"; {done.replaced} rows of older runs of the same cell are left out" if done.replaced else ""
    print(
        f"{options.csv}: {done.rows} rows; {done.runs} finished runs, {done.unfinished} unfinished; "
        f"{done.read} folders had changed{older}",
        file=sys.stderr,
    )
    for folder in done.damaged:
        print(f"damaged, and left out: {folder}", file=sys.stderr)
    return int(bool(done.damaged))
