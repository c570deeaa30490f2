"""The command line: lnl train | compare | reproduce | find-errors | apply | bench | methods."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from . import __version__
from .data import noise
from .features import backbones
from .files import RunError
from .methods import METHODS
from .run.settings import COMPILES, KEEPS, PRECISIONS, field_help, parse


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. Errors of the user are one sentence on standard error."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser(argv)
    options = parser.parse_args(argv)
    try:
        return options.command(options)
    except (ValueError, OSError, RunError) as error:
        print(f"lnl: {error}", file=sys.stderr)
        return 2


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong, without the list of all flags."""

    def error(self, message: str):
        self.exit(2, f"lnl: {message}; see {self.prog} --help\n")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that are values; a flag without one says itself what happens."""

    def _get_help_string(self, action):
        return action.help if action.default is None else super()._get_help_string(action)


def make_parser(argv: list[str]) -> argparse.ArgumentParser:
    """The parser; `lnl train METHOD` gets a flag per settings field of that method."""
    parser = Parser("lnl", description="Learning with noisy labels: train, reproduce, measure.")
    parser.add_argument("--version", action="version", version=f"lnl-kit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add = commands.add_parser("methods", help="list the methods, a line each")
    add.set_defaults(command=list_methods)

    add = commands.add_parser(
        "train",
        help="train a method; the last line printed is the run's folder",
        formatter_class=Help,
        epilog="lnl train METHOD --help lists the method's own settings too, such as --epochs",
    )
    add_train_flags(add, next((a for a in argv[1:] if a in METHODS), None) if argv[:1] == ["train"] else None)
    add.set_defaults(command=train_command)

    add = commands.add_parser(
        "compare", help="train methods x noises x seeds, and print and keep one table", formatter_class=Help
    )
    add.add_argument("methods", help=f"separated by commas, or all: {', '.join(METHODS)}")
    add.add_argument(
        "--noise",
        help="NOISE:RATE, separated by commas; none; default symmetric:0.5,symmetric:0.8 and, where its pairs "
        "are known, asymmetric:0.4; with --labels none",
    )
    add.add_argument("--seeds", default="0", help="separated by commas")
    add.add_argument("--dataset", default="digits", help="as for lnl train")
    add.add_argument("--preset", default="quick", help="as for lnl train")
    add_label_flags(add)
    add.add_argument("--clean-share", type=float, help="as for lnl train")
    add.add_argument("--epochs", type=int, help="of every run; default the preset's")
    add.add_argument("--model", help="as for lnl train")
    add.add_argument("--features", help="as for lnl train")
    add.add_argument("--train-size", type=int, help="at most so many training images; default the preset's")
    add.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="processes side by side, the CPU's threads shared among them, a GPU each where there are",
    )
    add.add_argument(
        "--csv", metavar="FILE", help="add a row as each cell ends, and skip the cells that FILE has"
    )
    add.add_argument("--out", help="root of the run folders; default $LNL_RUNS, else runs/")
    add.set_defaults(command=compare_command)

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
    add.add_argument("--preset", help="the same as -p preset=...")
    add.add_argument("--out", help="root of the run folders; default $LNL_RUNS, else runs/")
    add.add_argument("--timeout", type=int, default=3600, help="seconds that a cell may take")
    add.add_argument("--fresh", action="store_true", help="run finished notebooks again")
    add.add_argument(
        "--jobs", type=int, default=1, help="notebooks side by side, the CPU's threads shared among them"
    )
    add.set_defaults(command=reproduce_command)

    add = commands.add_parser(
        "find-errors",
        help="which labels of an image folder are probably wrong; prints the folder of errors.csv "
        "and report.html",
        formatter_class=Help,
    )
    add.add_argument(
        "dataset",
        metavar="PATH",
        help="a folder of images (train/<class>/* or <class>/*), or a built-in data set",
    )
    add.add_argument(
        "--features",
        help=f"the pretrained network that looks at the images: {backbones.HELP}; default {backbones.DEFAULT}; none = "
        "networks are trained on the images",
    )
    add.add_argument(
        "--probs",
        metavar="FILE",
        help="out-of-sample probabilities of one's own, a row an image: .npz (probs), .npy, .csv or .parquet (columns: "
        "classes); nothing is trained",
    )
    add.add_argument(
        "--method",
        help="train networks on the images instead: cross_validation and names of lnl methods, separated by commas, "
        "whose predictions are combined",
    )
    add.add_argument(
        "--score",
        default="recipe",
        help="recipe, or a single score of the first method: probability, clean_score, trajectory, vicinal",
    )
    add_label_flags(add)
    add.add_argument("--noise", help="as for lnl train: to try it on labels made wrong")
    add.add_argument("--rate", type=float, help="as for lnl train")
    add.add_argument(
        "--preset", default="demo", help="network and epochs, as for lnl train; always all images"
    )
    add.add_argument("--epochs", type=int, help="default the preset's")
    add.add_argument("--model", help="as for lnl train")
    add.add_argument("--seed", type=int, default=0, help="decides weights, folds and order")
    add.add_argument("--train-size", type=int, help="at most so many images; default all")
    add.add_argument("--image-size", type=int, help="as for lnl train")
    add.add_argument("--like", help="as for lnl train")
    add.add_argument("--device", default="auto", help="as for lnl train")
    add.add_argument("--skip-bad", action="store_true", help="as for lnl train")
    add.add_argument(
        "--out",
        metavar="DIR",
        dest="to",
        help="folder of the findings; default errors/... under the root of the runs",
    )
    add.set_defaults(command=find_errors_command)

    add = commands.add_parser(
        "apply", help="write the corrected labels of a review, for --labels; images are not touched"
    )
    add.add_argument("decisions", metavar="DECISIONS.csv", help="what the review wrote beside errors.csv")
    add.add_argument("--out", required=True, metavar="LABELS.csv", help="the file to write")
    add.set_defaults(command=apply_command)

    add = commands.add_parser("bench", help="speed of the full loop over that of the networks alone")
    add.add_argument("--json", metavar="FILE", help="write the rows there too")
    add.add_argument("--quick", action="store_true", help="small networks and few repeats")
    add.add_argument("--only", metavar="TEXT", default="", help="only the rows whose name contains TEXT")
    add.add_argument("--device", default="auto", help="cpu, cuda or auto")
    add.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out of what the bound tries"
    )
    add.set_defaults(command=bench_command)
    return parser


def add_label_flags(add: argparse.ArgumentParser) -> None:
    """Where the labels stand, for every command that trains."""
    add.add_argument("--labels", metavar="FILE.csv", help="given (and true) labels by path or index")
    add.add_argument(
        "--label-column", help="column of the given labels, or which human labels with --noise human"
    )
    add.add_argument("--true-column", help="column of the true labels, for measuring only")


def add_train_flags(add: argparse.ArgumentParser, method: str | None) -> None:
    """The flags of `lnl train`, and those of the method's settings."""
    add.add_argument("method", choices=METHODS, metavar="METHOD", help=f"one of: {', '.join(METHODS)}")
    add.add_argument(
        "--dataset",
        default="digits",
        help="digits, cifar10, cifar100, tiny_imagenet, clothing1m, webvision or folder:PATH",
    )
    add.add_argument("--noise", help=f"{', '.join(noise.NAMES)}; default symmetric, with --labels none")
    add.add_argument(
        "--rate", type=float, help="share of the labels that the noise acts on, in [0, 1]; default 0.5"
    )
    add.add_argument(
        "--preset", default="quick", help="quick, demo, paper, or paper:NAME for that paper's cell"
    )
    add.add_argument("--seed", type=int, default=0, help="decides noise, weights and order")
    add.add_argument("--model", help="network; default the preset's, with --features mlp_head")
    add.add_argument(
        "--features",
        help=f"train on what a pretrained network sees, computed once and kept: {backbones.HELP}",
    )
    add.add_argument(
        "--feature-views",
        type=int,
        default=0,
        metavar="N",
        help="also keep N random draws of each view that the method asks for; 0 = each view is the image itself",
    )
    add.add_argument("--train-size", type=int, help="at most so many training images; default the preset's")
    add.add_argument("--image-size", type=int, help="pixels a side; default the data set's")
    add_label_flags(add)
    add.add_argument(
        "--like", help="data set with the same classes whose noise, normalisation and cells apply"
    )
    add.add_argument(
        "--noisy-val",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="hold out a share with its given labels: an honest stopping rule",
    )
    add.add_argument(
        "--clean-share",
        type=float,
        metavar="SHARE",
        help="share of each class whose labels are known to be right "
        "and stay so; default what the method needs",
    )
    add.add_argument(
        "--clean-list",
        metavar="FILE.csv",
        help="instead: images whose labels are known to be right, by path or "
        "index; a column 'label' corrects them",
    )
    add.add_argument(
        "--keep",
        action="append",
        default=[],
        choices=KEEPS,
        help="also keep features, or the weights at up to 20 epochs",
    )
    add.add_argument("--skip-bad", action="store_true", help="leave out unreadable images and list them")
    add.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... or auto")
    add.add_argument(
        "--precision", default="auto", choices=PRECISIONS, help="auto = bf16 where the hardware has it"
    )
    add.add_argument("--compile", default="auto", choices=COMPILES, help="torch.compile's mode; auto = off")
    add.add_argument("--out", help="root of the run folders; default $LNL_RUNS, else runs/")
    add.add_argument("--fresh", action="store_true", help="start over even if the run is finished")
    if method:
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


def show(value) -> str:
    """A default as it would be typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def train_command(options) -> int:
    """`lnl train`: 0 when finished, 130 after Ctrl-C; the run's folder is the last line on standard output."""
    from .train import train

    values = vars(options).copy()
    values.pop("command")
    method = values.pop("method")
    fields = {f.name: f for f in dataclasses.fields(METHODS[method][1])}
    values = {k: parse(fields[k], v) if k in fields else v for k, v in values.items()}
    folder = []
    try:
        run = train(method, **values, on_interrupt="raise", on_folder=folder.append)
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from the last finished epoch", file=sys.stderr)
        if folder:
            print(folder[0])
        return 130
    s = run.summary
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
        print(f"{name:<{width}}  {settings_class.__doc__.splitlines()[0]}")
    return 0


def compare_command(options) -> int:
    """`lnl compare`: 0, or 1 where cells failed."""
    from .compare import compare

    values = vars(options).copy()
    values.pop("command")
    methods = list(METHODS) if values["methods"] == "all" else values["methods"].split(",")
    if values["methods"] == "all":
        on_features = values["features"] not in (None, "none")
        needs = "needs_pixels" if on_features else "needs_features"
        left_out = [m for m in methods if getattr(METHODS[m][1], needs)]
        methods = [m for m in methods if m not in left_out]
        print(
            f"left out: {', '.join(left_out)}, which cannot train on {'features' if on_features else 'images (--features)'}",
            file=sys.stderr,
        )
    try:
        asked = values.pop("noise") or (
            "none"
            if values["labels"]
            else "symmetric:0.5,symmetric:0.8"
            if values["dataset"].startswith("folder:")
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
    )


def find_errors_command(options) -> int:
    """`lnl find-errors`: the folder of the findings is the last line on standard output; 130 after Ctrl-C."""
    from .label_errors.find import find_errors
    from .label_errors.findings import open_findings

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
    s = open_findings(folder).summary
    low, high = s["estimated_errors_interval"]
    print(
        f"about {s['estimated_errors']:.0f} of {s['images']} labels are probably wrong ({low:.0f} to {high:.0f}); "
        f"{s['called_errors']} are more likely wrong than right",
        file=sys.stderr,
    )
    print(folder)
    return 0


def apply_command(options) -> int:
    """`lnl apply`."""
    from .label_errors.decisions import apply

    count = apply(options.decisions, options.out)
    print(", ".join(f"{n} {what}" for what, n in count.items()), file=sys.stderr)
    print(options.out)
    return 0


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
