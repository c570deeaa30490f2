"""The folder of findings: written, opened, and what is read from it."""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import data
from ..data import decode, label_formats
from ..data.streams import Stream
from ..files import (
    csv_bytes,
    json_bytes,
    lock,
    read_file,
    read_json,
    read_table,
    remove,
    remove_leftovers,
    save_atomically,
    sync,
)
from . import faults
from .decision_file import Decisions, Seen, applied, digest_of, seen_before

STAGED = ".findings"  # a search that is written in full, and not all in its place
NO_REPORT = "no-report"  # in that folder: this search has none, and one of an older search goes
UNFINISHED = re.compile(r"\.findings-[0-9a-f]{16}")
SHOWN = ("image", "given", "suggested", "suspicion", "because", "digest")


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
        """Where the images lie: a folder of the user's, or of the cache for a packed set; None for a built-in
        set.
        """
        name = self.summary["asked"]["dataset"]
        if name.startswith(data.PACKED):
            return self.dataset().folder
        return Path(name[7:]) if name.startswith("folder:") else None

    @functools.cached_property
    def _dataset(self) -> data.Dataset:
        return load(**self.summary["asked"], skip_bad=True)

    def dataset(self) -> data.Dataset:
        """The images as they were when this or `changed` was first asked, and their labels as they came."""
        return self._dataset

    def pixels(self, image: str) -> np.ndarray | None:
        """uint8 (C, H, W) of an image, called as in the table; None where it is not there any more."""
        return np.asarray(self.dataset().x[self._rows[image]]) if image in self._rows else None

    @functools.cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.dataset().names)}

    def changed(self) -> dict[str, list[str]]:
        """{"changed": images that look different now, "removed": ..., "new": ...}, each may be empty."""
        before, now = dict(zip(self.table["image"], self.table["digest"])), self.digests_now()
        new = [] if self.summary["asked"]["train_size"] else [i for i in now if i not in before]
        return {
            "changed": [i for i in before if i in now and before[i] and now[i] != before[i]],
            "removed": [i for i in before if i not in now],
            "new": new,
        }

    def digests_now(self) -> dict[str, str]:
        """{image: digest of its pixels}, of all training images as they are at this moment."""
        for looked_at_before in ("_dataset", "_rows"):
            self.__dict__.pop(looked_at_before, None)
        source = self.dataset()
        return dict(zip(source.names, digests_of(source)))

    def seen(self) -> dict[str, Seen]:
        """{image: its label and digest}, as searched: what decisions belong to."""
        before = seen_before(self.folder / "labels_before.csv") or {}
        return {
            image: before.get(image, Seen(""))._replace(given=given, digest=digest)
            for image, given, digest in zip(self.table["image"], self.table["given"], self.table["digest"])
        }


def by_kind(table: pd.DataFrame, alike: list[list[str]]) -> dict[str, np.ndarray]:
    """{what is wrong with images: rows of the table}, most suspicious first; of linked images each group
    stands where its most suspicious one does. alike: summary.json's groups of images.
    """
    if "kind" not in table:  # of an earlier version
        return {}
    kinds = [str(text).split("; ") for text in table["kind"]]
    group = {image: n for n, images in enumerate(alike) for image in images}
    groups = [group.get(image, -1 - row) for row, image in enumerate(table["image"])]
    found = {}
    for kind in faults.KINDS:
        rows = [row for row, of in enumerate(kinds) if kind in of]
        if kind in faults.LINKED:
            first: dict[int, int] = {}
            for row in rows:
                first.setdefault(groups[row], row)
            rows.sort(key=lambda row: first[groups[row]])
        if rows:
            found[kind] = np.array(rows)
    return found


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
    follow_links=False,
    image_column=None,
    hf_split=None,
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
        follow_links=follow_links,
        image_column=image_column,
        hf_split=hf_split,
    )


def labels_before(source: data.Dataset, searched: dict[str, str]) -> list[dict]:
    """Rows of labels_before.csv: every training image with its label, also those that were not searched or
    are left out: dropped ones with dropped 1; those that could not be used with their label, where it is
    known, and why in the column `unreadable`, so that they are back once they can be read.

    searched: {image: label} of those that were, which may have been made wrong on purpose.
    """
    labels = source.given_labels if source.given_labels is not None else source.true_labels
    given = (source.classes[k] for k in np.asarray(labels).tolist())
    rows = [(*row, 0, "") for row in zip(source.names, given, digests_of(source))]
    for name, (why, label) in zip(source.left_out, source.left_out_why):
        rows.append((name, label, "", int(why == "dropped"), "" if why == "dropped" else why))
    columns = ["unreadable"] if any(why for *_, why in rows) else []
    return [
        {
            "index": n if source.paths is not None else int(name),
            "path": name if source.paths is not None else None,
            "given": searched.get(name, given),
            "dropped": dropped,
            **dict.fromkeys(columns, why),
            "digest": digest,
        }
        for n, (name, given, digest, dropped, why) in enumerate(rows)
    ]


def digests_of(source: data.Dataset) -> list[str]:
    """16 hexadecimal digits for the pixels of each image; where images are decoded only when they are used,
    for its name and its file's size.

    A grey image has the same ones whether it is kept in one channel or in three, which other images decide.
    """
    if isinstance(source.x, Stream):
        return [_of_file(source.x.folder, path) for path in source.x.paths]
    grey = (image[:1] if (image == image[:1]).all() else image for image in source.x.numpy())
    return [bytes(decode.image_digests(image[None])[0]).hex()[:16] for image in grey]


def _of_file(folder: Path, path: str) -> str:
    try:
        size = os.stat(folder / path).st_size
    except OSError:
        return ""
    return hashlib.blake2b(f"{path}\0{size}".encode(), digest_size=8).hexdigest()


def write(findings: Findings, before: list[dict], report: bytes | None = None) -> None:
    """errors.csv, labels_before.csv, report.html and summary.json, all of them or none: one transaction.

    They are first written to a folder of their own, which is then renamed to `.findings`: from that moment
    they count, and whoever opens the findings brings them to their places. Another process that writes waits.
    """
    table = findings.table.drop(columns="image")
    if since := _since(findings):
        before = [row | {"since": since} for row in before]
    summary = findings.summary | {"search": search_id(findings.table)}
    contents = {
        "errors.csv": csv_bytes(table.to_dict("records"), ()),
        "labels_before.csv": csv_bytes(before, ()),
        **({NO_REPORT: b""} if report is None else {"report.html": report}),
        "summary.json": json_bytes(summary),
    }
    findings.folder.mkdir(parents=True, exist_ok=True)
    with lock(findings.folder):
        bring_in(findings.folder)
        for left in findings.folder.glob(".findings-*"):  # of a killed process
            if UNFINISHED.fullmatch(left.name):
                remove(left)
        _complete_decisions(findings.folder)
        staged = findings.folder / f".findings-{secrets.token_hex(8)}"
        staged.mkdir()
        for name, content in contents.items():
            save_atomically(staged / name, content)
        sync(staged)
        staged.rename(findings.folder / STAGED)
        bring_in(findings.folder)


def _since(findings: Findings) -> str:
    """When decisions of this folder were last applied, if the labels that were searched come from `apply`:
    such a decision is in them, unless somebody took it back by hand.
    """
    table, known = findings.summary["asked"]["labels"], applied(findings.folder)
    if not table or not known:
        return ""
    if when := known.get(digest_of(read_file(Path(table)))):  # just as it was written
        return when
    return max(known.values()) if "before" in label_formats.read_table(table).header else ""


def bring_in(folder: Path) -> None:
    """Finish what a killed process had written in full; the caller holds the folder's lock."""
    remove_leftovers(folder)
    staged = folder / STAGED
    if not staged.is_dir() or staged.is_symlink():
        return
    sync(folder)  # the renaming of the folder itself
    if (staged / NO_REPORT).exists():
        (folder / "report.html").unlink(missing_ok=True)  # of an older search
    for name in ("errors.csv", "labels_before.csv", "report.html", "summary.json"):
        if (staged / name).exists():
            (staged / name).replace(folder / name)
    sync(folder)
    remove(staged)


def _complete_decisions(folder: Path) -> None:
    """Decisions of an earlier version get the label and the digest that they were about, while the findings
    that know these are still there.
    """
    path = folder / "decisions.csv"
    if path.is_file() and (decisions := Decisions(path)).of_earlier_version:
        decisions.rewrite()


def search_id(table: pd.DataFrame) -> str:
    """What a search found of which images, as 16 hexadecimal digits, whatever the order of the rows."""
    rows = sorted(zip(table["image"].astype(str), table["given"].astype(str), table["digest"].astype(str)))
    return hashlib.blake2b(repr(rows).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def open_findings(folder: str | Path) -> Findings:
    """What `find_errors` wrote into a folder.

    Raises FileNotFoundError, and ValueError where its files are not of one search, with one sentence.
    """
    folder = Path(folder)
    if (folder / STAGED).exists():  # a search was killed when it had written everything
        with lock(folder):
            bring_in(folder)
    if not (folder / "errors.csv").is_file() or not (folder / "summary.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no findings (errors.csv and summary.json): `lnl find-errors` prints the folder "
            "that it wrote"
        )
    try:
        summary, table = read_json(folder / "summary.json"), pd.DataFrame(read_table(folder / "errors.csv"))
        table = table.astype({"suspicion": float, "rank": int, "index": int})
        table["image"] = table["path"].where(table["path"] != "", table["index"].astype(str))
        asked, classes = summary["asked"], summary["classes"]
        if not isinstance(asked, dict) or not isinstance(classes, list) or not {*SHOWN} <= set(table):
            raise KeyError("asked")
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"the findings in {folder} are damaged ({error}): find errors again") from None
    if summary.get("search", search_id(table)) != search_id(table):
        raise ValueError(
            f"errors.csv and summary.json in {folder} are not of one search, or images or labels in "
            "errors.csv were edited: find errors again"
        )
    return Findings(folder, table, summary)
