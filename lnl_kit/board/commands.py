"""The command lnl board."""

from __future__ import annotations

import argparse


def add_board(add: argparse.ArgumentParser) -> None:
    """`lnl board`."""
    add.epilog = "Ctrl-C ends it; the page stays, as it was then"
    add.add_argument("root", metavar="ROOT", help="a root of runs, as --out of lnl train and lnl compare")
    add.add_argument("--to", metavar="FILE", help="the page; default ROOT/board.html")
    add.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="how often it is renewed")
    add.add_argument("--once", action="store_true", help="write the page, and end")
    add.add_argument("--no-browser", action="store_false", dest="browser", help="do not open it")
    add.set_defaults(command=board_command)


def board_command(options) -> int:
    """`lnl board`: prints the path of the page."""
    from .live import board

    return board(**{k: v for k, v in vars(options).items() if k != "command"})
