"""Which image each row of a label file means: paths as people and tools write them, matched one to one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from .problems import some
from .tree import EXTENSIONS

UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of a file


class Matched(NamedTuple):
    """Positions of images by what the rows call them."""

    at: dict[str, int]  # {a row's text: position}; rows that name no image, or several, are not in it
    ambiguous: dict[str, list[str]]  # {a row's text: the images that it fits}
    notes: tuple[str, ...]  # how paths were matched that are not written as the images' own


def match(keys: list[str], paths: list[str]) -> Matched:
    """Match what the rows of a label file call their images to `paths`, relative to the folder.

    In this order, each for what is left: as written (`train/` may be left out); with \\ as /, `./`, quotes
    and accents in either form; the whole path of an image at the end of a longer one (absolute, or with the
    folder's name before it); a part of one image's path alone (base names); the last parts of both, as many
    as fit; the same without endings; the same in small letters. Two different rows never share an image by
    guessing.
    """
    exact = path_keys(paths)
    found: dict[str, int] = {}
    ambiguous: dict[str, list[str]] = {}
    notes = []
    left = []
    for key in dict.fromkeys(keys):
        if (i := exact.get(key, exact.get(key.strip().removeprefix("./")))) is not None:
            found[key] = i
        elif key.strip():
            left.append(key)
    taken = set(found.values())
    for way, form in (("", plain), ("without their endings", _without_ending), ("in small letters", _small)):
        for how, guess in (("", _same), ("end", _ends), ("within", _within), ("parts", _last_parts)):
            if not left:
                break
            if how == "parts" and found:  # rows of another style name other images
                continue
            rows = {k: form(k) for k in left if form is not _without_ending or not _has_ending(k)}
            guessed, several, said = guess(rows, [form(p) for p in paths])
            if way == "":
                ambiguous |= {k: [paths[i] for i in some_of] for k, some_of in several.items()}
            claims = Counter(guessed.values())
            new = {k: i for k, i in guessed.items() if claims[i] == 1 and i not in taken}
            if new:
                found |= new
                taken |= set(new.values())
                left = [k for k in left if k not in new]
                notes.append(_said(way, how, said, new, len(found) == len(new)))
    return Matched(found, {k: v for k, v in ambiguous.items() if k not in found}, tuple(filter(None, notes)))


def _said(way: str, how: str, said: str, new: dict, all_of_them: bool) -> str:
    words = " ".join(filter(None, (said, way)))
    if not words and all("\\" not in key for key in new):
        return ""
    who = "paths" if all_of_them else some(new, "path")
    return f"{who} matched " + (words or "with \\ read as /")


def path_keys(paths) -> dict[str, int]:
    """Positions by path, with and without the leading `train/`."""
    keys = {(p[6:] if p.startswith("train/") else f"train/{p}"): i for i, p in enumerate(paths)}
    return keys | {p: i for i, p in enumerate(paths)}


# ---------------------------------------------------------------- ways to write a path


def composed(path: str) -> str:
    """A path in one of the two ways of writing accented letters (NFC), so that equal names are equal."""
    return unicodedata.normalize("NFC", path)


def plain(path: str) -> tuple[str, ...]:
    """The parts of a path or address, with / between them, no quotes, and accents in their composed form."""
    text = composed(path.strip().strip("'\""))
    if "?d=" in text:  # Label Studio's local files
        text = text.split("?d=", 1)[1]
    if "://" in text or "%" in text:
        text = unquote(text.split("://", 1)[-1])
    text = re.sub(r"^[A-Za-z]:[\\/]", "", text).replace("\\", "/")
    return tuple(part for part in text.split("/") if part not in ("", "."))


def _has_ending(path: str) -> bool:
    return path.strip().strip("'\"").lower().endswith(EXTENSIONS)


def _without_ending(path: str) -> tuple[str, ...]:
    parts = plain(path)
    if parts and parts[-1].lower().endswith(EXTENSIONS):
        return (*parts[:-1], PurePosixPath(parts[-1]).stem)
    return parts


def _small(path: str) -> tuple[str, ...]:
    return tuple(part.casefold() for part in plain(path))


# ---------------------------------------------------------------- ways to match


def _same(keys: dict[str, tuple], paths: list[tuple]):
    """Equal once both are written alike."""
    where = {p[1:] if p[:1] == ("train",) else ("train", *p): i for i, p in enumerate(paths)}
    where |= {p: i for i, p in enumerate(paths)}
    return {key: where[parts] for key, parts in keys.items() if parts in where}, {}, ""


def _ends(keys: dict[str, tuple], paths: list[tuple]):
    """The whole path of an image, or that below train/, at the end of a longer one."""
    where: dict[tuple, int] = {p[1:]: i for i, p in enumerate(paths) if p[:1] == ("train",) and len(p) > 2}
    where |= {p: i for i, p in enumerate(paths) if len(p) > 1}
    found, longer = {}, max(map(len, paths), default=0)
    for key, parts in keys.items():
        for at in range(max(1, len(parts) - longer), len(parts) - 1):
            if parts[at:] in where:
                found[key] = where[parts[at:]]
                break
    return found, {}, "by the end of longer ones"


def _within(keys: dict[str, tuple], paths: list[tuple]):
    """A key that is the end of one image's path."""
    lengths = sorted({len(parts) for parts in keys.values()})
    where = _by_last(paths, lengths)
    found, several = {}, {}
    for key, parts in keys.items():
        fits = where.get(parts, [])
        if len(fits) == 1:
            found[key] = fits[0]
        elif fits:
            several[key] = fits
    base = all(len(keys[key]) == 1 for key in found)
    return found, several, "by base name" if base else "by a part of the folder's"


def _last_parts(keys: dict[str, tuple], paths: list[tuple]):
    """The last m parts of both, for the largest m that fits; never against a folder that both sides know."""
    folders = {part for p in paths for part in p[:-1]}
    several: dict[str, list[int]] = {}
    for clean in (lambda name: name, lambda name: UPLOAD.sub("", name)):
        written = {k: (*parts[:-1], clean(parts[-1])) for k, parts in keys.items() if parts}
        for m in range(min(4, max(map(len, paths), default=1)), 0, -1):
            where = _by_last(paths, [m])
            found = {}
            for key, parts in written.items():
                fits = where.get(parts[-m:], []) if len(parts) >= m else []
                contradicts = len(parts) > m and parts[-m - 1] in folders
                if len(fits) == 1 and not contradicts:
                    found[key] = fits[0]
                elif fits and not contradicts:
                    several.setdefault(key, fits)
            if found:
                return found, several, f"by their last {m} parts" if m > 1 else "by base name"
    return {}, several, ""


def _by_last(paths: list[tuple], lengths: list[int]) -> dict[tuple, list[int]]:
    where = defaultdict(list)
    for i, p in enumerate(paths):
        for m in lengths:
            if len(p) >= m:
                where[p[-m:]].append(i)
    return where


# ---------------------------------------------------------------- why nothing fits


def likely_cause(keys: list[str], paths: list[str], ambiguous: Collection[str] = ()) -> str:
    """In a few words why rows name no image, where that can be seen: endings, or another folder.

    ambiguous: those of the rows that fit several images.
    """
    if not keys or not paths:
        return ""
    if sum(key in ambiguous for key in keys) > len(keys) / 2:
        return f"names alone fit several images: write them with their folders, such as {paths[0]!r}"
    stems = {_without_ending(p)[-1:]: p for p in paths}
    if sum(_without_ending(k)[-1:] in stems for k in keys) > len(keys) / 2:
        key = next(k for k in keys if _without_ending(k)[-1:] in stems)
        there = stems[_without_ending(key)[-1:]]
        theirs, ours = PurePosixPath(plain(key)[-1]).suffix, PurePosixPath(there).suffix
        if theirs and theirs != ours:
            return f"the rows end in {theirs}, the images in {ours}"
        return f"the names are there in other folders: {key!r} against {there!r}"
    return f"the rows read like {keys[0]!r}, the images like {paths[0]!r}"
