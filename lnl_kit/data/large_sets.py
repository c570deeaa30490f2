"""Tiny-ImageNet, Clothing1M and mini-WebVision: which files and labels there are, as the archives unpack."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import lock, read_file, remove
from . import folders, tree

IMAGE_SIZE = 224  # pixels a side at which Clothing1M and WebVision are shown
MD5 = {"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"}  # of the archives that are unpacked here
UNPACKED_FILES, UNPACKED_BYTES = 500_000, 2**31  # Tiny-ImageNet: 120,609 files, 0.3 GB
WEBVISION_CLASSES = 50  # the first of 1,000: what the papers call mini-WebVision
OWN_NOISE = ("clothing1m", "webvision")  # their labels come from the web, the truth is unknown
PLACE = {
    "tiny_imagenet": "put tiny-imagenet-200.zip (from https://cs231n.stanford.edu/tiny-imagenet-200.zip) "
    "beside that folder, it is unpacked on first use",
    "clothing1m": "unpack the images and the annotations (both from https://github.com/Cysu/noisy_label) in "
    "that folder, so that images/0 to images/9 and the .txt files lie in it",
    "webvision": "unpack google_resized_256.tar, val_images_256.tar and info.tar (from "
    "https://data.vision.ee.ethz.ch/cvl/webvision/download.html) in that folder",
    "imagenet": "the second test set of webvision needs ILSVRC2012's validation images with a folder for "
    "each of its classes (synset), or no imagenet folder at all",
}


class Listing(NamedTuple):
    """The images of a set, not decoded yet; each part has its files and their class numbers, int64 (n,)."""

    folder: Path
    classes: tuple[str, ...]
    parts: dict[str, tuple[list[folders.File], np.ndarray]]  # train, test, and a second test set by its name


def tiny_imagenet(root: Path) -> Listing:
    """200 classes of 500 training images, 64x64. The test set is its val; its test set has no labels."""
    folder, archive = root / "tiny-imagenet-200", root / "tiny-imagenet-200.zip"
    if archive.is_file() and not folder.exists():
        _unpack(archive, folder)
    wnids = _lines("tiny_imagenet", folder, "wnids.txt")
    words = dict(line.split("\t") for line in _lines("tiny_imagenet", folder, "words.txt"))
    classes, number = _names(wnids, words), {wnid: k for k, wnid in enumerate(wnids)}
    rows = (line.split("\t")[:2] for line in _lines("tiny_imagenet", folder, "val/val_annotations.txt"))
    return Listing(
        folder,
        classes,
        {
            "train": _part(
                folder,
                classes,
                (
                    (path, k)
                    for k, wnid in enumerate(wnids)
                    for path in _images("tiny_imagenet", folder, f"train/{wnid}/images")
                ),
            ),
            "test": _part(
                folder, classes, ((f"val/images/{image}", number[wnid]) for image, wnid in rows), test=True
            ),
        },
    )


def clothing1m(root: Path) -> Listing:
    """14 classes: a million training images labelled by shops' texts, test images labelled by people."""
    folder = root / "clothing1m"
    classes = tuple(_lines("clothing1m", folder, "category_names_eng.txt"))
    return Listing(
        folder,
        classes,
        {
            part: _part(folder, classes, _keys(folder, keys, labels), test=part == "test")
            for part, keys, labels in (
                ("train", "noisy_train_key_list.txt", "noisy_label_kv.txt"),
                ("test", "clean_test_key_list.txt", "clean_label_kv.txt"),
            )
        },
    )


def clothing1m_double_labels(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """(given, true), int64 (n,) each, of the images that Clothing1M labels both ways."""
    given, true = (_labels(root / "clothing1m", f"{kind}_label_kv.txt") for kind in ("noisy", "clean"))
    both = [key for key in given if key in true]
    as_numbers = [np.array([labels[key] for key in both], np.int64) for labels in (given, true)]
    return as_numbers[0], as_numbers[1]


def webvision(root: Path) -> Listing:
    """Mini-WebVision: the first 50 classes, Google's images for training, WebVision's validation to test.

    Where imagenet/val/<synset>/* lies in its folder, those images of the 50 classes are the second test set.
    """
    folder = root / "webvision"
    synsets = [
        line.split(maxsplit=1) for line in _lines("webvision", folder, "info/synsets.txt")[:WEBVISION_CLASSES]
    ]
    classes = _names([wnid for wnid, _ in synsets], dict(synsets))
    parts = {}
    for part, filelist, prefix in (
        ("train", "info/train_filelist_google.txt", ""),
        ("test", "info/val_filelist.txt", "val_images_256/"),
    ):
        listed = (line.rsplit(maxsplit=1) for line in _lines("webvision", folder, filelist))
        rows = ((prefix + path, int(k)) for path, k in listed if int(k) < WEBVISION_CLASSES)
        parts[part] = _part(folder, classes, rows, test=part == "test")
    if (folder / "imagenet" / "val").is_dir():
        parts["imagenet"] = _part(
            folder,
            classes,
            (
                (path, k)
                for k, (wnid, _) in enumerate(synsets)
                for path in _images("imagenet", folder, f"imagenet/val/{wnid}")
            ),
            test=True,
        )
    return Listing(folder, classes, parts)


LISTINGS = {"tiny_imagenet": tiny_imagenet, "clothing1m": clothing1m, "webvision": webvision}


def _part(folder: Path, classes: tuple[str, ...], rows: Iterable[tuple[str, int]], test: bool = False):
    rows = list(rows)
    files = []
    for path, k in rows:
        size, mtime, inode, ctime = tree.status(f"{folder}/{path}")
        files.append(folders.File(path, classes[k], test, size, mtime, inode, ctime))
    return files, np.array([k for _, k in rows], np.int64)


def _absent(name: str, path: Path) -> FileNotFoundError:
    return FileNotFoundError(f"{name} needs {path}, which is missing: {PLACE[name]}")


def _lines(name: str, folder: Path, file: str) -> list[str]:
    """The lines of a file that are not empty."""
    try:
        text = read_file(folder / file).decode()
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(name, folder / file) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _images(name: str, folder: Path, inside: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder / inside))
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(name, folder / inside) from None
    return [f"{inside}/{image}" for image in names if image.lower().endswith(folders.EXTENSIONS)]


def _names(wnids: list[str], words: dict[str, str]) -> tuple[str, ...]:
    """The first word for each synset; where two have the same (both cranes), the identifier goes with it."""
    first = [words[wnid].split(",")[0].strip() for wnid in wnids]
    return tuple(f"{word} ({wnid})" if first.count(word) > 1 else word for word, wnid in zip(first, wnids))


def _labels(folder: Path, file: str) -> dict[str, int]:
    """Class numbers by image of a Clothing1M label file."""
    rows = (line.split() for line in _lines("clothing1m", folder, file))
    return {key: int(label) for key, label in rows}


def _keys(folder: Path, keys: str, labels: str) -> list[tuple[str, int]]:
    label = _labels(folder, labels)
    return [(key, label[key]) for key in _lines("clothing1m", folder, keys)]


def _require_sane(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that is not the real one, or that would fill the disk: far more files or bytes."""
    path = Path(archive.filename or "")
    if path.name in MD5:
        with open(path, "rb") as file:
            if (found := hashlib.file_digest(file, "md5").hexdigest()) != MD5[path.name]:
                raise ValueError(f"its MD5 is {found}, not {MD5[path.name]}")
    members = archive.infolist()
    if len(members) > UNPACKED_FILES or sum(m.file_size for m in members) > UNPACKED_BYTES:
        raise ValueError(f"it holds more than {UNPACKED_FILES} files or {UNPACKED_BYTES / 1e9:.0f} GB")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive`, which holds a folder of that name, beside itself; a killed process leaves no half."""
    temporary = folder.with_name(f"{folder.name}.unpacking")
    with lock(folder.with_name(f"{folder.name}.lock")):
        if folder.exists():  # another process was first
            return
        remove(temporary)
        try:
            with zipfile.ZipFile(archive) as file:
                _require_sane(file)
                file.extractall(temporary)  # its members stay inside, and none becomes a link
            (temporary / folder.name).rename(folder)
        except (zipfile.BadZipFile, FileNotFoundError, ValueError) as error:
            raise FileNotFoundError(f"{archive} is not the whole archive ({error}): fetch it again") from None
        remove(temporary)
