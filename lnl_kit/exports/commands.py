"""`lnl export`: a run for other programs, findings for tools that label."""

from __future__ import annotations

from pathlib import Path

from ..run.flags import Help

OF_RUNS = ("safetensors", "onnx", "torch-export", "torchscript")


def add_export(commands) -> None:
    """`lnl export`."""
    add = commands.add_parser(
        "export", help="a run as a program or weights with a model card", formatter_class=Help
    )
    add.add_argument("folder", metavar="RUN", help="the folder that lnl train printed")
    add.add_argument("--to", required=True, choices=OF_RUNS, help="the format")
    add.add_argument("--out", metavar="FOLDER", help="a new folder; default export-<format> in RUN")
    add.add_argument(
        "--head",
        action="store_true",
        help="of a run on frozen features: from the features on, not from images",
    )
    add.set_defaults(command=export_command)


def export_command(options) -> int:
    """`lnl export`: the folder that was written is the last line on standard output."""
    from .runs import export_run

    folder = Path(options.folder)
    print(export_run(folder, options.to, options.out, options.head))
    return 0
