"""Folders of images: which images there are, of which class, in which part; and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .problems import Problem, some
from .tree import EXTENSIONS, File, Tree, walk

__all__ = ["EXTENSIONS", "File", "Scan", "Tree", "arrange", "scan", "stratified_split", "walk", "with_labels"]

FORMATS = "JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, AVIF or HEIC"
TEST_SHARE = 0.2
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)


class Scan(NamedTuple):
    """The images of a folder, in parts and classes, and a sentence for all that is not taken as it lies."""

    files: list[File]  # training images, then those of val/ where there is a test/ too, then test images
    notes: list[str]
    problems: list[Problem]
    split_off: bool = False  # whether the test images were taken from the training images
    classes: tuple[str, ...] = ()  # in their order, where a label file alone tells them


# ---------------------------------------------------------------- which part and class each image is of


def scan(folder: Path, *, recursive: bool = True, lend: bool = False) -> Scan:
    """`arrange` of all that lies in `folder`. Raises as `walk` and `arrange` do."""
    return arrange(folder, walk(folder), recursive=recursive, lend=lend)


def arrange(folder: Path, tree: Tree, *, recursive: bool = True, lend: bool = False) -> Scan:
    """The images of `folder`: training images first, each part sorted by class, then by path.

    Layouts: `train/<class>/*` with `test/<class>/*` or `val/<class>/*` (also Train, training, valid, ...);
    `<class>/*` in the folder itself, with or without such a test/ or val/. A folder called train, test or val
    with images of its own beside other class folders is a class. Images in folders below a class folder are
    of that class, or with recursive=False left out. Without test/, val/ is the test set; without both, 20 %
    are split off, stratified, seed 0; with lend=True, where these stay training images too, also from classes
    of one image. Raises ValueError where there are fewer than two classes.
    """
    parts = _parts(folder, tree)
    named = {part: name for name, part in parts.items()}
    inside, notes = named.get("train", ""), []
    taken, loose = [], []
    below: Counter[str] = Counter()
    beside: Counter[str] = Counter()
    for file in tree.images:
        path, part = file.path.split("/"), "train"
        if path[0] in parts:
            part, path = parts[path[0]], path[1:]
        elif inside:
            beside[path[0] if len(path) > 1 else "in the folder itself"] += 1
            continue
        if len(path) < 2:
            loose.append(file.path)
            continue
        if len(path) > 2:
            below[path[0]] += 1
            if not recursive:
                continue
        taken.append(File(file.path, path[0], False, *file[3:7], part))
    if loose:
        notes.append(f"{some(loose, 'image')} outside class folders left out, such as {loose[0]}")
    if beside:
        counts = ", ".join(f"{name} {n}" for name, n in beside.most_common(5))
        notes.append(
            f"{some(sum(beside.values()), 'image')} beside {inside}/ left out ({counts}"
            f"{', ...' if len(beside) > 5 else ''}): classes belong into {inside}/"
        )
    if below:
        n = sum(below.values())
        what = "taken as theirs" if recursive else "left out (--no-recursive)"
        notes.append(f"{some(n, 'image')} in folders below class folders {what}")
    notes += _empty(tree, parts, inside, {f.label for f in taken if f.part == "train"})
    _require_classes(folder, inside, tree, {f.label for f in taken if f.part == "train"}, notes)
    return _with_test(taken, notes + _leftovers(tree), tree.problems, lend)


def _parts(folder: Path, tree: Tree) -> dict[str, str]:
    """{folder's name: train, val or test} of those folders in `folder` that hold class folders of a part."""
    own: Counter[str] = Counter()
    subfolders: dict[str, set[str]] = {}
    for file in tree.images:
        top, _, rest = file.path.partition("/")
        if "/" in rest:
            subfolders.setdefault(top, set()).add(rest.split("/")[0])
        elif rest:
            own[top] += 1
    marked = {p: PARTS[p.lower()] for p in tree.folders if p.lower() in PARTS}  # in the folder itself: no "/"
    others = sorted({*own, *subfolders} - marked.keys())
    # Parts that share class folders are parts, whatever else lies there.
    held = {name: subfolders.get(name, set()) for name in marked}
    agree = {a for a in marked for b in marked if marked[a] != marked[b] and held[a] & held[b]}
    parts = {}
    for name, part in marked.items():
        is_class = own[name] and (others or not held[name])  # or only a table can tell the classes
        if name in agree or not (is_class or (others and not held[name])):
            parts[name] = part
    if others and "train" not in parts.values():  # class folders beside test/ or val/
        parts = {name: part for name, part in parts.items() if held[name] & set(others)}
    return _checked(folder, parts, own, others)


def _checked(folder: Path, parts: dict[str, str], own: Counter, others: list[str]) -> dict[str, str]:
    for part in ("train", "val", "test"):
        if len(same := [name for name, p in parts.items() if p == part]) > 1:
            raise ValueError(
                f"{folder} holds {' and '.join(same)}, which both read as the {part} part: merge or "
                "rename one"
            )
    if parts and "train" not in parts.values() and not others:
        name = next(iter(parts))
        raise ValueError(f"{folder} has a {name} folder but no train folder: train/<class>/* goes beside it")
    if not parts and own and all(name.lower() in PARTS for name in own) and not others:
        names = " and ".join(f"{name}/" for name in own)
        raise ValueError(
            f"{folder} holds images directly in {names}, without class folders: put them in "
            f"train/<class>/*, or give their classes with --labels FILE.csv"
        )
    return parts


def _empty(tree: Tree, parts: dict[str, str], inside: str, classes: set[str]) -> list[str]:
    """A sentence for each class folder of the training part that gave no image."""
    at = f"{inside}/" if inside else ""
    found = [p[len(at) :] for p in tree.folders if p.startswith(at)]
    found = [p for p in found if "/" not in p and p not in classes and p not in parts]
    refused = {p.path for p in tree.problems}
    notes = []
    for name in found[:10]:
        files = [p for p in tree.others if p.startswith(f"{at}{name}/")]
        if files:
            notes.append(
                f"no image of '{name}' can be read, which is no class here "
                f"({some(files, 'file')} of other formats, such as {files[0]})"
            )
        elif at + name not in refused and not any(f.path.startswith(f"{at}{name}/") for f in tree.images):
            notes.append(f"folder '{name}' is empty, which is no class here")
    return notes + [f"and {len(found) - 10} more such folders"] * (len(found) > 10)


def _require_classes(folder: Path, inside: str, tree: Tree, classes: set[str], notes: list[str]) -> None:
    if len(classes) >= 2:
        return
    where, hint = f"{folder}/{inside}" if inside else str(folder), ""
    within = {f.path.split("/")[1] for f in tree.images if f.path.count("/") >= 2} if not inside else set()
    if len(classes) == 1 and len(within) > 1:
        hint = f"; {folder}/{next(iter(classes))} holds {len(within)} folders: is folder:{folder}/" + (
            f"{next(iter(classes))} meant?"
        )
    elif tree.images:
        hint = "; where the classes stand in a table, give --labels FILE.csv"
    found = f" ({'; '.join(notes)})" if notes else ""
    raise ValueError(
        f"{where} holds images of {len(classes)} classes, at least 2 are needed: "
        f"expected one folder a class with {FORMATS} files in it{hint}{found}"
    )


def _leftovers(tree: Tree) -> list[str]:
    notes = []
    if tree.others:
        kinds = Counter(os.path.splitext(p)[1].lower() or "no ending" for p in tree.others)
        most = ", ".join(f"{kind} {n}" for kind, n in kinds.most_common(3))
        notes.append(f"{some(tree.others, 'other file')} ignored ({most}; such as {tree.others[0]})")
    if tree.circles:
        notes.append(f"{some(tree.circles, 'link')} in a circle left out, such as {tree.circles[0]}")
    return notes


def _with_test(taken: list[File], notes: list[str], problems: list[Problem], lend: bool) -> Scan:
    """The images in their order, with the test images marked, or split off where there are none."""
    held = {f.part for f in taken}
    tested = "test" if "test" in held else "val" if "val" in held else None
    taken = sorted(
        (f._replace(test=True) if f.part == tested else f for f in taken),
        key=lambda f: (f.test, f.part == "val", f.label, f.path),
    )
    if tested == "val":
        notes.append("no test folder: the images of val/ are the test set")
    if tested:
        return Scan(taken, notes, problems)
    labelled = [f for f in taken if f.label]
    number = {name: k for k, name in enumerate(sorted({f.label for f in labelled}))}
    n_test = max(1, round(TEST_SHARE * len(labelled)))
    rows = stratified_split(np.array([number[f.label] for f in labelled]), n_test, seed=0)[1]
    chosen = {labelled[i].path for i in rows} or {f.path for f in labelled[:lend]}
    if not chosen:
        raise ValueError(
            f"no test set can be split off from {len(labelled)} images, one a class: add images, or a "
            "test folder"
        )
    notes.append(
        f"no test folder: {len(chosen)} of {len(labelled)} images (20 %, stratified, seed 0) are the test set"
    )
    train = [f for f in taken if f.path not in chosen]
    return Scan(train + [f._replace(test=True) for f in taken if f.path in chosen], notes, problems, True)


def with_labels(tree: Tree, labels: dict[str, str], notes: Iterable[str] = (), *, lend: bool = False) -> Scan:
    """The images that a label file names, {path: its class, "" = none}, wherever they lie in the folder.

    Parts are the folders train, val and test, where all images lie in these. Images that the file does not
    name are left out, and counted.
    """
    parts = {f.path.split("/")[0].lower() for f in tree.images if "/" in f.path}
    apart = parts and parts <= PARTS.keys() and all("/" in f.path for f in tree.images)
    taken = []
    for file in tree.images:
        if file.path in labels:
            part = PARTS[file.path.split("/")[0].lower()] if apart else "train"
            taken.append(file._replace(label=labels[file.path], part=part))
    notes = [*notes]
    if len(taken) < len(tree.images):
        rest = [f.path for f in tree.images if f.path not in labels]
        notes.append(f"{some(rest, 'image')} that the label file does not name left out, such as {rest[0]}")
    if {f.part for f in taken} - {"train"} and "train" not in {f.part for f in taken}:
        taken = [f._replace(part="train") for f in taken]
    return _with_test(taken, notes + _leftovers(tree), tree.problems, lend)


def stratified_split(labels: np.ndarray, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (train, test), each ascending; every class gives its share of the `n_test` test images.

    Shares are rounded by largest remainder; no class gives its last image, so there may be fewer. Draws:
    `numpy.random.RandomState(seed)`, a frozen stream.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    quota = counts * n_test / len(labels)
    take = np.floor(quota).astype(np.int64)
    by_remainder = np.argsort(take - quota, kind="stable")  # largest remainder first, ties by class
    take[by_remainder[: n_test - take.sum()]] += 1
    take = np.minimum(take, counts - 1)
    while take.sum() < n_test and (take < counts - 1).any():  # what the small classes could not give
        take[np.argmax(np.where(take < counts - 1, quota - take, -np.inf))] += 1
    random = np.random.RandomState(seed)
    test = [np.flatnonzero(labels == c)[random.permutation(n)[:t]] for c, n, t in zip(classes, counts, take)]
    is_test = np.zeros(len(labels), bool)
    is_test[np.concatenate(test)] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)
