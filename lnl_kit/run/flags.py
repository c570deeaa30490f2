"""Command-line flags that several commands have, each described once."""

from __future__ import annotations

import argparse

from ..data import noise
from ..data.annotators import RULES
from ..features import kinds
from .settings import COMPILES, KEEPS, PRECISIONS


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that are values; a flag without one, or a switch, says itself what happens."""

    def _get_help_string(self, action):
        says_itself = action.default in (None, []) or isinstance(action.default, bool)
        return action.help if says_itself else super()._get_help_string(action)


# name -> arguments of `add_argument`
FLAGS: dict[str, dict] = {
    "--dataset": {
        "default": "digits",
        "help": "digits, cifar10, cifar100, tiny_imagenet, clothing1m, webvision, folder:PATH, hf:PATH or "
        "hf:USER/NAME[/CONFIG], tar:PATTERN, parquet:PATTERN",
    },
    "--noise": {"help": f"{', '.join(noise.NAMES)}; default symmetric, with --labels none"},
    "--rate": {
        "type": float,
        "help": "share of the labels that the noise acts on, in [0, 1]; default 0.5",
    },
    "--open-set": {
        "type": float,
        "default": 0.0,
        "metavar": "SHARE",
        "help": "this share of the training images shows no class: digits get letters and textures, of other "
        "sets the last classes are held out",
    },
    "--imbalance": {
        "type": float,
        "metavar": "RATIO",
        "help": "long-tailed classes, the smallest with this share of the largest; default as they are",
    },
    "--preset": {
        "default": "quick",
        "help": "quick, demo, photographs, memorise, paper, or paper:NAME for its cell",
    },
    "--seed": {"type": int, "default": 0, "help": "decides noise, weights and order"},
    "--model": {"help": "network; default the preset's, with --features mlp_head"},
    "--features": {"help": f"train on what a pretrained network sees, computed once and kept: {kinds.HELP}"},
    "--feature-views": {
        "type": int,
        "default": 0,
        "metavar": "N",
        "help": "also keep N random draws of each view that the method asks for; 0 = each view is the image "
        "itself",
    },
    "--train-size": {"type": int, "help": "at most so many training images; default the preset's"},
    "--image-size": {"type": int, "help": "pixels a side; default the data set's"},
    "--labels": {
        "metavar": "FILE",
        "help": "given (and true) labels by path or index: CSV, JSON lines, Parquet, COCO, Label Studio; for "
        "a folder without class folders the images and classes too",
    },
    "--path-column": {"help": "column of the images' paths; default a usual heading, such as path or file"},
    "--label-column": {
        "help": "column of the given labels, or which human labels with --noise human; several, separated by "
        "commas, are annotators"
    },
    "--annotators": {
        "default": "majority",
        "choices": RULES,
        "help": "what is made of several label columns (--label-column random1,random2,random3)",
    },
    "--true-column": {"help": "column of the true labels, for measuring only"},
    "--image-column": {
        "metavar": "NAME",
        "help": "of a set hf:, tar: or parquet:, the column of images (of a tar, their ending); default "
        "the first",
    },
    "--split": {
        "dest": "hf_split",
        "metavar": "NAMES",
        "help": "of a set hf:, the splits to read, separated by commas; default all of them",
    },
    "--like": {"help": "data set with the same classes whose noise, normalisation and cells apply"},
    "--noisy-val": {
        "type": float,
        "default": 0.0,
        "metavar": "SHARE",
        "help": "hold out a share with its given labels: an honest stopping rule",
    },
    "--clean-share": {
        "type": float,
        "metavar": "SHARE",
        "help": "share of each class whose labels are known to be right and stay so; default what the method "
        "needs",
    },
    "--clean-list": {
        "metavar": "FILE.csv",
        "help": "instead: images whose labels are known to be right, by path or index; a column 'label' "
        "corrects them",
    },
    "--keep": {
        "action": "append",
        "default": [],
        "choices": KEEPS,
        "help": "also keep features, the weights at up to 20 epochs, or of every image and epoch the "
        "margin and the probability of its label",
    },
    "--no-recursive": {
        "action": "store_false",
        "dest": "recursive",
        "help": "leave out images in folders below a class folder",
    },
    "--max-pixels": {"type": int, "help": "larger image files count as unreadable; default 50 million"},
    "--follow-links": {
        "action": "store_true",
        "help": "also read images that lie outside of the folder, by a link",
    },
    "--skip-bad": {"action": "store_true", "help": "leave out unreadable images and list them"},
    "--device": {"default": "auto", "help": "cpu, cuda, cuda:1 ... or auto"},
    "--devices": {
        "default": "",
        "metavar": "LIST",
        "help": "train on several at once, a process each: 0,1 (GPUs) or cpu,cpu; torchrun does the same, "
        "also on several machines",
    },
    "--precision": {
        "default": "auto",
        "choices": PRECISIONS,
        "help": "auto = bf16 where the hardware makes the network at least 1.5 times as fast by it",
    },
    "--compile": {"default": "auto", "choices": COMPILES, "help": "torch.compile's mode; auto = off"},
    "--track": {
        "metavar": "NAME[:PROJECT]",
        "help": "also send settings and metrics to tensorboard, mlflow, trackio or wandb",
    },
    "--epochs": {"type": int, "help": "of every run; default the preset's"},
    "--out": {"help": "root of the run folders; default $LNL_RUNS, else runs/"},
    "--fresh": {"action": "store_true", "help": "start over even if it is finished"},
    "--config": {
        "metavar": "FILE",
        "help": "settings from a .yaml, .json or .toml file, such as the settings.json of a run; flags on "
        "the command line win",
    },
    "--dry-run": {
        "action": "store_true",
        "help": "only say what would be trained, where, and how long it would take; runs are left untouched",
    },
    "--jobs": {
        "type": int,
        "default": 1,
        "help": "parallel processes; CPU threads are divided among them, and each gets its own GPU if there "
        "are several",
    },
}
LABELS = ("--labels", "--path-column", "--label-column", "--true-column", "--image-column", "--split")
FOLDERS = ("--no-recursive", "--max-pixels", "--follow-links", "--skip-bad")


def share(add: argparse.ArgumentParser, *names: str, **changes: dict) -> None:
    """Give a command these flags of FLAGS; changes: {name without dashes: what is different here}."""
    for name in names:
        add.add_argument(name, **FLAGS[name] | changes.get(name[2:].replace("-", "_"), {}))
