"""`lnl check`: what `train` and `find-errors` would read, and what is odd about it; nothing is written."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import copies, decode
from .dataset import Dataset, load
from .naming import resolve
from .parallel import in_parallel
from .streams import Stream

PARTS = ("train", "val", "test")
BAR = 30  # characters of the longest bar
FEW = 10  # images below which a class is called small
TOO_FEW = 3  # below which find-errors refuses it
IMBALANCE = 10  # times as many images in the largest class as in the smallest
SHOWN = 10  # examples of each kind


def check(name, **reading) -> dict:
    """What there is to say about a data set, as plain values.

    name, reading: as for `data.load`, which says with `skip_bad` what it leaves out; nothing is kept.
    Keys: dataset, taken (the one line), classes {name: {part: images}}, sizes and modes (of the files, most
    frequent first), notes, problems {kind: [(path, why)]}, equal_under_several_labels [[(path, label)]],
    across_parts [(path in val or test, path in train)], imbalance (largest over smallest class), too_small
    [names], warnings (sentences, most severe first).
    Raises ValueError or FileNotFoundError with one sentence where `load` could not read the data set at all.
    """
    name = resolve(name, folder_first=True)
    source = load(name, **reading, skip_bad=True, split=PARTS, keep=False)
    known = source.given_labels if source.given_labels is not None else source.true_labels
    labels, parts = np.asarray(known), np.array(source.parts or ["train"] * len(source.x))
    classes = {
        c: {p: int(((labels == k) & (parts == p)).sum()) for p in PARTS if (parts == p).any()}
        for k, c in enumerate(source.classes)
    }
    rows = [] if isinstance(source.x, Stream) else [*decode.image_digests(source.x.numpy())]
    digests = [bytes(row).hex() for row in rows]
    folder = source.folder if source.paths else None
    sizes, modes = _headers(folder, source)
    found = {
        "dataset": name,
        "taken": source.taken,
        "classes": classes,
        "sizes": sizes,
        "modes": modes,
        "notes": list(source.notes),
        "problems": _problems(source),
        "equal_under_several_labels": [
            [(source.names[i], source.classes[labels[i]]) for i in group]
            for group in copies.under_several(_equal(digests, folder, source), labels.tolist())
        ],
        "across_parts": [
            (source.names[i], source.names[j])
            for i, j in (copies.leaks(parts, digests, source.x) if digests else [])
        ],
    }
    counts = [sum(parts.values()) for parts in classes.values()]
    found["imbalance"] = max(counts) / max(1, min(counts))
    found["too_small"] = [c for c, n in zip(classes, counts) if n < TOO_FEW]
    found["small"] = [c for c, n in zip(classes, counts) if TOO_FEW <= n < FEW]
    return found | {"warnings": _warnings(found)}


def _headers(folder: Path | None, source: Dataset) -> tuple[dict[str, int], dict[str, int]]:
    """How many files have each size and each of Pillow's modes, most frequent first."""
    if folder is None:
        return {"x".join(map(str, reversed(source.x.shape[2:]))): len(source.x)}, {}
    seen = source.headers
    if seen is None:
        look = functools.partial(decode.headers, inside=source.inside, most=source.max_pixels)
        seen = np.concatenate([*in_parallel(look, [folder / name for name in source.names])])
    seen = seen[seen["width"] > 0]
    sizes = Counter(zip(seen["width"].tolist(), seen["height"].tolist()))
    modes = Counter(mode.decode() for mode in seen["mode"].tolist())
    return {f"{w}x{h}": n for (w, h), n in sizes.most_common()}, dict(modes.most_common())


def _equal(digests: Sequence[str], folder: Path | None, source: Dataset) -> list[list[int]]:
    """Positions of equal pictures, compared at their full size where they lie in files."""
    groups = copies.equal(digests)
    if folder is None:
        return groups
    look = functools.partial(decode.whole_digest, inside=source.inside, most=source.max_pixels)
    whole = ({i: look(folder / source.names[i]) for i in group} for group in groups)
    return [[list(w)[k] for k in same] for w in whole for same in copies.equal(list(w.values()))]


def _problems(source: Dataset) -> dict[str, list[tuple[str, str]]]:
    problems: dict[str, list[tuple[str, str]]] = {}
    for kind, (path, why) in zip(source.skipped_as, source.skipped):
        problems.setdefault(kind, []).append((path, why))
    return problems


def _warnings(found: dict) -> list[str]:
    """A sentence for everything that a person should look at first."""
    said = []
    for kind, some in found["problems"].items():
        said.append(
            f"{kind}: {len(some)}, such as {some[0][0]} ({some[0][1]}); train and find-errors refuse "
            "this unless "
            "--skip-bad"
        )
    if found["too_small"]:
        said.append(
            f"classes of fewer than {TOO_FEW} images: {_first(found['too_small'])}; find-errors refuses these"
        )
    if found["equal_under_several_labels"]:
        group = found["equal_under_several_labels"][0]
        example = " and ".join(f"{path} ({label})" for path, label in group[:2])
        said.append(
            f"the same picture under several labels: {len(found['equal_under_several_labels'])}, such "
            f"as {example}"
        )
    if found["across_parts"]:
        held, train = found["across_parts"][0]
        said.append(
            "pictures of val/ or test/ that are in train/ too, equal or nearly: "
            f"{len(found['across_parts'])}, such "
            f"as {held} and {train}"
        )
    if found["imbalance"] >= IMBALANCE:
        said.append(f"the largest class has {found['imbalance']:.0f} times the images of the smallest")
    if found["small"]:
        said.append(f"classes of fewer than {FEW} images: {_first(found['small'])}")
    return said


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def text(found: dict) -> str:
    """The result of `check` as a page of text: the line, a bar a class, sizes and modes, notes, warnings."""
    lines = [f"{found['dataset']}: {found['taken'] or 'as built in'}", ""]
    counts = {c: sum(parts.values()) for c, parts in found["classes"].items()}
    width, most = max(map(len, counts)), max(counts.values())
    parts = {p: sum(n.get(p, 0) for n in found["classes"].values()) for p in PARTS}
    lines.append("images: " + ", ".join(f"{p} {n}" for p, n in parts.items() if n))
    for c, n in list(counts.items())[:100]:
        split = found["classes"][c]
        beside = f"  ({', '.join(f'{p} {k}' for p, k in split.items())})" if len(split) > 1 else ""
        lines.append(f"  {c:<{width}}  {n:>6}  {'#' * max(1, round(BAR * n / max(1, most)))}{beside}")
    if len(counts) > 100:
        lines.append(f"  and {len(counts) - 100} more classes")
    for what in ("sizes", "modes"):
        some = list(found[what].items())
        more = f" and {len(some) - 5} more" if len(some) > 5 else ""
        if some:
            lines.append(f"{what}: " + ", ".join(f"{key} {n}" for key, n in some[:5]) + more)
    lines += [f"note: {note}" for note in found["notes"]]
    lines += [f"look at: {warning}" for warning in found["warnings"]]
    if not found["warnings"]:
        lines.append("nothing odd was found")
    return "\n".join(lines)
