"""Data sets: `load("digits" | "cifar10" | … | "folder:PATH")` gives a `Dataset`: images and labels.

Pixels are the same on every platform, splits are fixed, and every data set carries a fingerprint of its
contents (images, labels, test set, class names; never where it lies), by which finished runs are found again.
For clothing1m and webvision names and sizes of the image files stand for their pixels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import files
from . import allowed, built_in, decode, large_sets, naming, packed_sets, taken
from .annotators import Agreed
from .classes import CLASSES, MEAN_STD, channel_stats
from .label_formats import as_file, read_table
from .label_tables import Labels
from .problems import Problem, counted, report
from .raw import _decoded, _folder, _Raw, _streamed
from .streams import Stream, pick
from .told import labels_of


class SecondTest(NamedTuple):
    """A second test set, whose metrics are called `<name>_accuracy` and `<name>_top5`."""

    name: str
    x: Tensor | Stream  # uint8 (M, C, H, W)
    y: Tensor  # int64 (M,)


@dataclass(frozen=True)
class Dataset:
    """Images as uint8, labels as int64 class numbers; training set and test set.

    The true labels are for noise, metrics and figures; a method never sees them.
    """

    name: str  # as asked for: "digits", "folder:/x/photos"
    slug: str  # safe in a path: "digits", "folder-photos"
    like: str  # built-in set whose normalisation, augmentation, noise pairs apply; "" = none, a folder
    classes: tuple[str, ...]  # K names
    x: Tensor | Stream  # uint8 (N, C, H, W), may be a memory map, or files not decoded yet
    true_labels: Tensor | None  # int64 (N,); None = unknown
    given_labels: Tensor | None  # int64 (N,) of a label file, a folder or the web; None = see true_labels
    test_x: Tensor | Stream  # uint8 (M, C, H, W)
    test_y: Tensor  # int64 (M,)
    paths: tuple[str, ...] | None  # (N,) relative to the folder; None for digits and CIFAR
    mean: tuple[float, ...]  # (C,) of images in [0, 1]
    std: tuple[float, ...]  # (C,)
    skipped: tuple[tuple[str, str], ...] = ()  # (path, reason) of what `skip_bad` left out
    fingerprint: str = ""  # hex over pixels (or file names and sizes), labels, test sets and class names
    notes: tuple[str, ...] = ()  # choices worth knowing: a split that was made, images that were resized
    second_test: SecondTest | None = None
    names: tuple[str, ...] = ()  # (N,) what label files call the images: path, or position in the whole set
    left_out: tuple[str, ...] = ()  # training images that are not in it: dropped by the label file or by
    # `skip_bad`; for each of them why ("dropped", or the kind of problem), and its label, "" = unknown:
    left_out_why: tuple[tuple[str, str], ...] = ()
    test_names: tuple[str, ...] = ()  # (M,) what label files call the test images; () for built-in sets
    parts: tuple[str, ...] = ()  # (N,) of a folder: the part that each training image lies in
    taken: str = ""  # one line: what was read, and what was left out
    skipped_as: tuple[str, ...] = ()  # the kind of each problem in `skipped`
    folder: Path | None = None  # where `paths` and `test_paths` lie; None where pixels are all there is
    test_paths: tuple[str, ...] | None = None  # (M,)
    max_pixels: int | None = None  # of an image file; None = `images.max_pixels()`
    follow_links: bool = False  # whether images may lie elsewhere, by a link
    annotators: str = "majority"  # what is made of several label columns
    agreed: Agreed | None = None  # what that was, of all images of the set; None with one column
    headers: np.ndarray | None = None  # decode.HEADER (N,), sizes and modes of the files; None = not known

    @property
    def inside(self) -> Path | None:
        """The folder that image files must lie in; None = anywhere."""
        return None if self.follow_links else self.folder

    @property
    def skipped_kinds(self) -> dict[str, int]:
        """{kind of problem: how many images or rows were left out for it}."""
        return dict(Counter(self.skipped_as))


def load(
    name,
    *,
    root=None,
    image_size: int | None = None,
    labels=None,
    path_column: str | None = None,
    label_column: str | None = None,
    true_column: str | None = None,
    like: str | None = None,
    skip_bad: bool = False,
    split: bool | Sequence[str] = True,
    recursive: bool = True,
    max_pixels: int | None = None,
    follow_links: bool = False,
    image_column: str | None = None,
    hf_split: str | None = None,
    annotators: str = "majority",
    keep: bool = True,
) -> Dataset:
    """The data set `name`: one of `NAMES`, or a folder's path; data/README.md says what to put where.
    Packed sets (`hf:`, `tar:`, `parquet:`) are unpacked once; label_column and true_column name columns of
    theirs, image_column that of the images (of a tar their ending), hf_split the splits (None = all).

    root: where downloads and caches lie; None = `data_root()`. image_size: pixels a side. None = the set's
        own (digits 16, CIFAR 32, tiny_imagenet 64; clothing1m and webvision 224), of a folder the images' own
        if that is square and at most 256, else 32. Resizing scales the shorter side and cuts out the centre.
    labels: a table of the training images' labels (a DataFrame, or a file: `label_formats`), with a column of
        paths (relative to the folder, or as `label_paths.match` reads) or, for digits and CIFAR, `index`. For
        a folder without class folders it alone says which images and classes there are.
        path_column, label_column: None = the usual headings. true_column: None = the truth is unknown for a
        folder, clothing1m and webvision, else the set's own labels. A folder without `labels` has its classes
        as given labels and no true ones, likewise clothing1m and webvision, whose labels come from the web.
        Their images are a Stream. Test images keep their folder's class unless the table names them. Several
        label columns, with commas between: `annotators.agree` by the rule `annotators`.
    like: for a folder with the classes of a built-in set, that set's name: its class order and normalisation.
    skip_bad: leave out unreadable images, unknown classes, images without a label and labels without an
        image, and list them in `skipped`; else one ValueError counts them and names the first ten.
    split: False leaves all images of a folder without `test/` in the training set; the test set then repeats
        some of them. A sequence of train, val and test puts all images of these parts in the training set.
    recursive: False leaves out images in folders below a class folder. max_pixels: of an image file.
    follow_links: images may lie elsewhere, by a link. keep: False writes nothing, nor prints on standard
        error the line about what was read of a folder and what was left out.
    Raises ValueError or FileNotFoundError with one sentence that says what to do.
    """
    name = naming.resolve(name)
    allowed.check(name, image_size, labels, true_column, like, max_pixels, follow_links)
    root = files.data_root() if root is None else Path(root).expanduser()
    table = None if labels is None else read_table(as_file(labels, root / "cache" / "labels"))
    columns = (path_column, label_column, true_column)
    asked = packed_sets.Asked(name, image_column, hf_split, None if labels is not None else columns)
    of_folder = {"table": table, "columns": columns, "recursive": recursive, "follow_links": follow_links}
    seen, how = (image_size, like, split), {"max_pixels": max_pixels, "keep": keep}
    raw, own = _raw_of(asked, root, seen, how, of_folder)
    table, columns = (own.table, own.columns) if own and table is None else (table, columns)
    told = None if table is None else labels_of(raw, table, columns, annotators)
    source = replace(_assemble(name, like, raw, told, bool(true_column), skip_bad), annotators=annotators)
    if keep and source.taken:
        taken.say(f"{name}: {source.taken}")
    return replace(source, max_pixels=max_pixels and int(max_pixels), follow_links=bool(follow_links))


def _raw_of(
    asked: packed_sets.Asked, root: Path, seen: tuple, how: dict[str, Any], of_folder: dict[str, Any]
) -> tuple[_Raw, packed_sets.Own | None]:
    """(every image, what a packed set says of its labels). seen: size, like, split."""
    size, like, split = seen
    allowed.check_packed(*asked[:3])
    if asked.name.startswith("folder:"):
        path = Path(asked.name.removeprefix("folder:")).expanduser()
        return _folder(path, root / "cache", size, like, split, **how, **of_folder), None
    if asked.name.startswith(naming.PACKED):
        return packed_sets.read(asked, root / "cache", size, like, split, **how)
    return _built_in(asked.name, root, size), None


def _built_in(name: str, root: Path, image_size: int | None) -> _Raw:
    if name == "tiny_imagenet":
        return _decoded(large_sets.tiny_imagenet(root), root / "cache", image_size)
    if name in large_sets.LISTINGS:
        return _streamed(large_sets.LISTINGS[name](root), image_size)
    raw = _Raw(CLASSES[name], *(built_in.digits() if name == "digits" else built_in.cifar(name, root)))
    if image_size is None:
        return raw
    x, test_x = (decode.resize(np.asarray(images), image_size) for images in (raw.x, raw.test_x))
    return raw._replace(x=x, test_x=test_x)


def _assemble(
    name: str, like: str | None, raw: _Raw, found: Labels | None, has_truth: bool, skip_bad: bool
) -> Dataset:
    """The data set of what was read, without what is bad. Raises ValueError where that is not allowed."""
    like = (like or "") if name.startswith(naming.OWN) else name
    names = [str(i) for i in range(len(raw.y))] if raw.paths is None else raw.paths
    truth_unknown = name.startswith(naming.OWN) or name in large_sets.OWN_NOISE
    given, true = (raw.y, None) if truth_unknown else (None, raw.y)
    test_y, problems, notes = raw.test_y, list(raw.problems), [*raw.notes]
    keep, keep_test = raw.y >= 0, raw.test_y >= 0  # all but what cannot be read or belongs to no class
    if found is not None:
        problems += found.problems
        notes += found.notes
        given, true = found.given, (found.true if has_truth else true)
        keep = keep & (given >= 0) & (True if true is None else true >= 0)
        test_y, keep_test = np.where(found.test >= 0, found.test, test_y), keep_test & ~found.bad_test
    if problems and not skip_bad:
        lost = [note for note in raw.notes if note.startswith("no image of")]
        raise report(problems, name, "; ".join(filter(None, [found.cause if found else "", *lost])))
    _require_some(name, keep, keep_test, problems)
    x, given, true = _kept(raw.x, keep), _kept(given, keep), _kept(true, keep)
    test_x, test_y = _kept(raw.test_x, keep_test), _kept(test_y, keep_test)
    known, test_known = _kept(raw.digests, keep), _kept(raw.test_digests, keep_test)
    digests = decode.image_digests(x) if known is None else known
    test_digests = decode.image_digests(test_x) if test_known is None else test_known
    test_names = tuple(p for p, k in zip(raw.test_paths or (), keep_test) if k)
    second, second_parts = _second(raw)
    mean, std = MEAN_STD[like] if like and len(MEAN_STD[like][0]) == x.shape[1] else channel_stats(x)
    return Dataset(
        name,
        naming.slug(name),
        like,
        raw.classes,
        _images(x),
        None if true is None else _tensor(true),
        None if given is None else _tensor(given),
        _images(test_x),
        _tensor(test_y),
        None if raw.paths is None else tuple(p for p, k in zip(raw.paths, keep) if k),
        mean,
        std,
        skipped=tuple((p.path, p.detail) for p in problems),
        notes=tuple(notes),
        second_test=second,
        folder=raw.folder,
        test_paths=None if raw.test_paths is None else test_names,
        names=tuple(n for n, k in zip(names, keep) if k),
        left_out=tuple(n for n, k in zip(names, keep) if not k),
        left_out_why=_why(names, keep, raw, found, problems),
        test_names=test_names,
        parts=tuple(p for p, k in zip(raw.parts or (), keep) if k),
        taken=_line(raw, true if given is None else given, test_y, notes, problems),
        skipped_as=tuple(p.kind for p in problems),
        fingerprint=fingerprint(raw.classes, digests, given, true, test_digests, test_y, *second_parts),
        headers=_kept(raw.headers, keep),
        agreed=None if found is None else found.agreed,
    )


def _require_some(name: str, keep: np.ndarray, keep_test: np.ndarray, problems: list[Problem]) -> None:
    why = f": {problems[0].path}: {problems[0].detail}" if problems else ""
    for part, mask in (("training", keep), ("test", keep_test)):
        if not mask.any():
            raise ValueError(f"{name}: no usable {part} image is left out of {len(mask)}{why}")


def _kept(values, mask: np.ndarray):
    """The values where the mask is true: the memory map itself where nothing is left out."""
    return values if values is None or mask.all() else pick(values, np.flatnonzero(mask))


def _second(raw: _Raw) -> tuple[SecondTest | None, tuple]:
    """(the second test set, its digests and labels for the fingerprint), without what cannot be read."""
    if not raw.second:
        return None, ()
    title, *parts = raw.second
    there = np.flatnonzero(parts[1] >= 0)
    x, y, digests = (part if len(there) == len(part) else pick(part, there) for part in parts)
    return SecondTest(title, x, _tensor(y)), (digests, y)


def _why(names, keep, raw: _Raw, found, problems: list[Problem]) -> tuple[tuple[str, str], ...]:
    """(why, label) of each training image that is left out, in their order."""
    kinds: dict[str, str] = {}
    for problem in problems:
        kinds.setdefault(problem.path, problem.kind)
    label = raw.y if raw.own is None else raw.own
    if found is not None:
        label = found.given
    return tuple(
        ("dropped", found.of_dropped[i])
        if found is not None and found.dropped[i]
        else (kinds.get(names[i], ""), raw.classes[label[i]] if label[i] >= 0 else "")
        for i in np.flatnonzero(~keep).tolist()
    )


def _line(raw: _Raw, labels: np.ndarray, test_y, notes: list[str], problems: list[Problem]) -> str:
    """The one line about a folder, or of a built-in set what there is to say.

    labels (n,), test_y (m,): of the images that are left.
    """
    if raw.parts is not None:
        counts = np.bincount(labels, minlength=len(raw.classes))
        if raw.split_off and not raw.lent:
            counts += np.bincount(test_y, minlength=len(raw.classes))
        tested = 0 if raw.split_off or raw.lent else len(test_y)
        return taken.line(raw.classes, counts, tested, notes, problems)
    skipped = ", ".join(f"{kind} {n}" for kind, n in counted(problems).items())
    return "; ".join([*notes, *[f"left out by --skip-bad: {skipped}"] * bool(problems)])


def _images(x: np.ndarray | Stream) -> Tensor | Stream:
    return x if isinstance(x, Stream) else torch.from_numpy(x)


def _tensor(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(labels.copy())


def subset(dataset: Dataset, train_index, test_index=None) -> Dataset:
    """The data set with only the training (and test) images of these positions; it keeps its fingerprint."""
    train_index = torch.as_tensor(np.asarray(train_index), dtype=torch.int64)
    changes: dict[str, Any] = {"headers": None} | {
        key: pick(values, train_index)
        for key in ("x", "true_labels", "given_labels")
        if (values := getattr(dataset, key)) is not None
    }
    for key in ("paths", "names"):
        if getattr(dataset, key):
            changes[key] = tuple(getattr(dataset, key)[i] for i in train_index.tolist())
    if test_index is not None:
        test_index = torch.as_tensor(np.asarray(test_index), dtype=torch.int64)
        changes |= {"test_x": pick(dataset.test_x, test_index), "test_y": dataset.test_y[test_index]}
    return replace(dataset, **changes)


def fingerprint(classes, x_digests, given, true, test_digests, test_y, *second) -> str:
    """Hex digest of what a data set holds; `x_digests (N, 16)`, `test_digests (M, 16)`: one an image.

    second: digests and labels of a second test set.
    """
    h = hashlib.blake2b(repr(tuple(classes)).encode(), digest_size=16)
    for part in (x_digests, given, true, test_digests, test_y, *second):
        if part is None:
            h.update(b"none")
        else:
            part = np.ascontiguousarray(part)
            h.update(f"{part.dtype.str}{part.shape}".encode())
            h.update(part.tobytes())
    return h.hexdigest()
