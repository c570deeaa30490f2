"""`lnl export` and `lnl import-decisions`: runs and findings for other tools, and what was decided there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

OF_RUNS = ("safetensors", "onnx", "torch-export", "torchscript")
OF_FINDINGS = ("label-studio", "coco", "hf", "fiftyone", "csv")


def add_export(add: argparse.ArgumentParser) -> None:
    """`lnl export`."""
    add.add_argument(
        "folder", metavar="RUN|FINDINGS", help="a folder that lnl train or lnl find-errors printed"
    )
    add.add_argument(
        "--to",
        required=True,
        choices=(*OF_RUNS, *OF_FINDINGS),
        metavar="FORMAT",
        help=f"of a run: {', '.join(OF_RUNS)}; of findings: {', '.join(OF_FINDINGS)}",
    )
    add.add_argument(
        "--out", metavar="FOLDER", help="a new folder; default export-FORMAT in the one exported"
    )
    add.add_argument(
        "--head",
        action="store_true",
        help="of a run on frozen features: from the features on, not from images",
    )
    add.add_argument(
        "--changed",
        action="store_true",
        help="of findings: only images whose label a decision changes or drops",
    )
    add.add_argument(
        "--url",
        help="of findings, for label-studio: what stands before an image's path, where they are on a server",
    )
    add.set_defaults(command=export_command)


def add_import(add: argparse.ArgumentParser) -> None:
    """`lnl import-decisions`."""
    add.add_argument("findings", metavar="FINDINGS", help="the folder that lnl find-errors printed")
    add.add_argument("file", metavar="EXPORT.json", help="Label Studio's export, as JSON")
    add.set_defaults(command=import_command)


def export_command(options) -> int:
    """`lnl export`: the folder that was written is the last line on standard output."""
    folder, of_run = Path(options.folder), options.to in OF_RUNS
    is_findings = (folder / "errors.csv").exists()
    if of_run and is_findings:
        raise ValueError(f"{folder} holds findings, which go to {', '.join(OF_FINDINGS)} (--to)")
    if not of_run and not is_findings and (folder / "settings.json").exists():
        raise ValueError(f"{folder} holds a run, which goes to {', '.join(OF_RUNS)} (--to)")
    unused = ("changed", "url") if of_run else ("head",)
    if told := [f"--{name}" for name in unused if getattr(options, name)]:
        raise ValueError(f"{told[0]} is not for --to {options.to}: leave it out")
    if of_run:
        from .runs import export_run

        print(export_run(folder, options.to, options.out, options.head))
        return 0
    from .findings import export_findings

    written, count = export_findings(
        folder, options.to, options.out, changed=options.changed, url=options.url
    )
    say(count)
    print(written)
    return 0


def import_command(options) -> int:
    """`lnl import-decisions`: the file of decisions is the last line on standard output."""
    from .label_studio import import_decisions

    say(import_decisions(options.findings, options.file))
    print(Path(options.findings) / "decisions.csv")
    return 0


def say(count: dict[str, int]) -> None:
    """Numbers and what they count, on standard error."""
    print(", ".join(f"{n} {what}" for what, n in count.items()), file=sys.stderr)
