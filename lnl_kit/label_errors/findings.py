"""The folder of findings: written, opened, and what is read from it."""

from __future__ import annotations

import csv
import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import data
from ..data import decode
from ..data.streams import Stream
from ..files import csv_bytes, json_bytes, save_atomically


@dataclass(frozen=True, eq=False)
class Findings:
    """A folder with errors.csv and summary.json, as `find_errors` writes it.

    table: one row an image, most suspicious first, the columns of errors.csv and `image`, the path or else
        the index.
    """

    folder: Path
    table: pd.DataFrame
    summary: dict

    @property
    def classes(self) -> list[str]:
        """The class names."""
        return self.summary["classes"]

    @property
    def images_folder(self) -> Path | None:
        """Where the images lie; None for a built-in set."""
        kind, _, path = self.summary["asked"]["dataset"].partition(":")
        return Path(path) if kind == "folder" else None

    def dataset(self) -> data.Dataset:
        """The images as read on first use or by the last `changed`, and their labels as they came."""
        return self._dataset

    @functools.cached_property
    def _dataset(self) -> data.Dataset:
        return load(**self.summary["asked"], skip_bad=True)

    def pixels(self, image: str) -> np.ndarray | None:
        """uint8 (C, H, W) of an image, called as in the table; None where it is not there any more."""
        return np.asarray(self.dataset().x[self._rows[image]]) if image in self._rows else None

    @functools.cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.dataset().names)}

    def changed(self) -> dict[str, list[str]]:
        """{"changed": images that look different now, "removed": ..., "new": ...}, each may be empty."""
        for name in ("_dataset", "_rows"):  # read again: of these findings, not of others that are open
            self.__dict__.pop(name, None)
        source = self.dataset()
        before = dict(zip(self.table["image"], self.table["digest"]))
        now = dict(zip(source.names, digests_of(source)))
        new = [] if self.summary["asked"]["train_size"] else [i for i in now if i not in before]
        return {
            "changed": [i for i in before if i in now and now[i] != before[i]],
            "removed": [i for i in before if i not in now],
            "new": new,
        }


def load(
    dataset,
    labels,
    label_column,
    true_column,
    image_size,
    like,
    train_size,
    skip_bad,
    *,
    splits=None,
    path_column=None,
    recursive=False,
    max_pixels=None,
) -> data.Dataset:
    """The data set with every image that is searched in its training part.

    splits: parts of a folder (train, val, test); None = as earlier versions searched: train/, or everything
    of a folder without test/. They did not look below class folders either.
    """
    return data.load(
        dataset,
        labels=labels,
        path_column=path_column,
        label_column=label_column,
        true_column=true_column,
        image_size=image_size,
        like=like,
        skip_bad=skip_bad,
        split=tuple(splits) if splits else False,
        recursive=recursive,
        max_pixels=max_pixels,
    )


def labels_before(source: data.Dataset, searched: dict[str, str]) -> list[dict]:
    """Rows of labels_before.csv: every training image with its label, also those that were not searched or
    are left out: dropped ones with dropped 1; those that could not be used with their label, where it is
    known, and why in the column `unreadable`, so that they are back once they can be read.

    searched: {image: label} of those that were, which may have been made wrong on purpose.
    """
    labels = source.given_labels if source.given_labels is not None else source.true_labels
    assert labels is not None  # a data set has one or the other
    rows = [(name, source.classes[k], 0, "") for name, k in zip(source.names, labels.tolist())]
    for name, (why, label) in zip(source.left_out, source.left_out_why):
        rows.append((name, label, int(why == "dropped"), "" if why == "dropped" else why))
    columns = {"unreadable": None} if any(why for *_, why in rows) else {}
    return [
        {
            "index": n if source.paths is not None else int(name),
            "path": name if source.paths is not None else None,
            "given": searched.get(name, given),
            "dropped": dropped,
            **dict.fromkeys(columns, why),
        }
        for n, (name, given, dropped, why) in enumerate(rows)
    ]


def digests_of(source: data.Dataset) -> list[str]:
    """16 hexadecimal digits for each image's pixels; "" where images are decoded on use.

    A grey image has the same ones whether it is kept in one channel or in three, which other images decide.
    """
    if isinstance(source.x, Stream):
        return [""] * len(source.x)
    grey = (image[:1] if (image == image[:1]).all() else image for image in source.x.numpy())
    return [bytes(decode.image_digests(image[None])[0]).hex()[:16] for image in grey]


def write(findings: Findings, before: list[dict]) -> None:
    """errors.csv, summary.json and labels_before.csv, each whole or not at all."""
    findings.folder.mkdir(parents=True, exist_ok=True)
    save_atomically(
        findings.folder / "errors.csv", csv_bytes(findings.table.drop(columns="image").to_dict("records"), ())
    )
    save_atomically(findings.folder / "summary.json", json_bytes(findings.summary))
    save_atomically(findings.folder / "labels_before.csv", csv_bytes(before, ()))


def open_findings(folder: str | Path) -> Findings:
    """What `find_errors` wrote into a folder. Raises FileNotFoundError with one sentence."""
    folder = Path(folder)
    if not (folder / "errors.csv").is_file() or not (folder / "summary.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no findings (errors.csv and summary.json): `lnl find-errors` prints the folder "
            "that it wrote"
        )
    with open(folder / "errors.csv", newline="", encoding="utf-8") as file:
        table = pd.DataFrame(csv.DictReader(file))
    table = table.astype({"suspicion": float, "rank": int, "index": int})
    table["image"] = table["path"].where(table["path"] != "", table["index"].astype(str))
    return Findings(folder, table, json.loads((folder / "summary.json").read_text()))
