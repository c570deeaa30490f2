"""The commands about one's own labels: lnl check | find-errors | apply."""

from __future__ import annotations

import argparse
import json
import sys

from ..features import kinds
from ..run.flags import FOLDERS, LABELS, share


def add_find_errors(add: argparse.ArgumentParser) -> None:
    """`lnl find-errors`."""
    add.add_argument(
        "dataset",
        metavar="PATH",
        help="a folder of images (train/<class>/* or <class>/*), or a built-in data set",
    )
    add.add_argument(
        "--features",
        help=f"the pretrained network that looks at the images: {kinds.HELP}; default "
        f"{kinds.DEFAULT}; none = networks are trained on the images",
    )
    add.add_argument(
        "--probs",
        metavar="FILE",
        help="out-of-sample probabilities of one's own, a row an image: .npz (probs), .npy, .csv or .parquet "
        "(columns: classes); nothing is trained",
    )
    add.add_argument(
        "--method",
        help="train networks on the images instead: cross_validation and names of lnl methods, separated by "
        "commas, whose predictions are combined",
    )
    add.add_argument(
        "--score",
        default="recipe",
        help="recipe, or a single score of the first method: probability, clean_score, trajectory, vicinal, "
        "aum, mean_margin, data_maps, data_variability; or simifeat, votes of neighbours on the features",
    )
    share(add, *LABELS, "--noise", "--rate", "--preset", "--epochs", "--model", "--seed", "--train-size")
    share(add, "--image-size", "--like", "--device", *FOLDERS)
    add.set_defaults(preset="demo", command=find_errors_command)
    add.add_argument(
        "--splits", help="parts of a folder that are searched, of train,val,test; default all of them"
    )
    add.add_argument(
        "--out",
        metavar="DIR",
        dest="to",
        help="folder of the findings; default errors/... under the root of the runs",
    )


def add_check(add: argparse.ArgumentParser) -> None:
    """`lnl check`."""
    add.add_argument("name", metavar="PATH", help="a folder of images, or a built-in data set")
    share(add, *LABELS, "--like", "--image-size", "--no-recursive", "--max-pixels", "--follow-links")
    add.add_argument("--json", action="store_true", help="print the result as JSON")
    add.set_defaults(command=check_command)


def add_apply(add: argparse.ArgumentParser) -> None:
    """`lnl apply`."""
    add.add_argument("decisions", metavar="DECISIONS.csv", help="what the review wrote beside errors.csv")
    add.add_argument("--out", required=True, metavar="LABELS.csv", help="the file to write")
    add.set_defaults(command=apply_command)


def find_errors_command(options) -> int:
    """`lnl find-errors`: the folder of the findings is the last line on standard output; 130 after Ctrl-C."""
    from .find import find_errors
    from .findings import open_findings
    from .searched import in_sentences

    values = {
        k: v
        for k, v in vars(options).items()
        if k != "command" and (v is not None or k not in ("epochs", "model"))
    }
    try:
        folder = find_errors(**values, on_interrupt="raise").attrs["folder"]
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    print(in_sentences(open_findings(folder).summary), file=sys.stderr)
    print(folder)
    return 0


def check_command(options) -> int:
    """`lnl check`: 0, or 1 where train and find-errors would refuse something."""
    from ..data.check import check, text

    values = {k: v for k, v in vars(options).items() if k not in ("command", "json")}
    found = check(**values)
    print(json.dumps(found, indent=1, ensure_ascii=False) if options.json else text(found))
    return int(bool(found["problems"]))


def apply_command(options) -> int:
    """`lnl apply`."""
    from .decisions import apply

    count = apply(options.decisions, options.out)
    print(", ".join(f"{n} {what}" for what, n in count.items()), file=sys.stderr)
    print(options.out)
    return 0
