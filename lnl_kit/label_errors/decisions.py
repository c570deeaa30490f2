"""Decisions about suspicious labels, and the corrected labels made from them."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from ..files import (
    RunError,
    csv_bytes,
    flag,
    json_bytes,
    read_file,
    read_json,
    read_table,
    save_atomically,
)
from .decision_file import ACTIONS, COLUMNS, Decision, Decisions, Seen, applied, digest_of, seen_before, utc

__all__ = ["ACTIONS", "COLUMNS", "Decision", "Decisions", "Seen", "apply"]
OF_FINDINGS = ("errors.csv", "labels_before.csv", "summary.json", "report.html", "applied.json")
APPLIED = ("index", "path", "given", "dropped", "before")  # the columns of corrected labels


def apply(decisions: str | Path, out: str | Path) -> dict[str, int]:
    """Write the labels as decided, for `--labels`; images and folders are not touched.

    decisions: a `decisions.csv`, with `labels_before.csv` beside it. out: columns index, path, given (the
    corrected label), dropped (1 = leave the image out) and before; a row for every training image, also for
    those that were not searched or were dropped before; a column unreadable where some were left out as
    such, which are not dropped and come back once they can be read. Images without a decision, and those that
    people were unsure about, keep their label; so do those whose decision does not stand, which are named
    on standard error. Returns how many labels were changed, kept, dropped, unsure, undecided, how many
    decisions do not stand and why, and how many were about images that are not there (any more).
    Raises FileNotFoundError or ValueError with one sentence; a file that `apply` has not written is left
    alone.
    """
    decisions, out = Path(decisions), Path(out)
    if not decisions.is_file():
        raise FileNotFoundError(
            f"no file {decisions}: the review of a folder of findings writes decisions.csv there"
        )
    folder = decisions.parent
    _settle(folder)
    table = read_labels(folder / "labels_before.csv")
    summary = _summary(folder)
    require_free(out, folder, summary.get("asked", {}).get("labels"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write in {out.parent}: {error.strerror}; choose another --out") from None
    seen = seen_before(folder / "labels_before.csv") or {}
    standing = Decisions(decisions, seen | _as_they_are(folder, seen))
    made, left_out = standing.made, standing.left_out
    strange = [image for image in made if image not in seen]
    if made and len(strange) == len(made):
        raise ValueError(
            f"{decisions} decides about images that {folder / 'labels_before.csv'} does not list, such as "
            f"{strange[0]}: they are not of one search"
        )
    require_classes(made, summary.get("classes"), decisions)
    count, rows = corrected(table, made)
    for why, images in left_out.items():
        more = f" and {len(images) - 10} more" if len(images) > 10 else ""
        print(
            f"left out, {len(images)} decisions, as {why}: {', '.join(images[:10])}{more}; review them again",
            file=sys.stderr,
        )
        count[f"left out, as {why}"] = len(images)
    content = csv_bytes(rows, APPLIED)
    _note_applied(folder, content)
    save_atomically(out, content, durable=True)
    return count | ({"about images that are not there any more": len(strange)} if strange else {})


def corrected(table: list[dict[str, str]], made: dict[str, tuple[str, str]]) -> tuple[dict[str, int], list]:
    """(how many were changed, kept and so on, the rows of corrected labels)."""
    count, rows = dict.fromkeys(("changed", "kept", "dropped", "unsure", "undecided"), 0), []
    for row in table:
        action, label = made.get(row["path"] or row["index"], ("undecided", ""))
        given = label if action in ("accept", "class") else row["given"]
        what = {"keep": "kept", "drop": "dropped"}.get(action, action)
        out_before = bool(flag(row["dropped"])) and action == "undecided"
        if row.get("unreadable") and action == "undecided":
            count["unreadable"] = count.get("unreadable", 0) + 1
        elif not out_before:
            count["changed" if given != row["given"] else what if what in count else "kept"] += 1
        dropped = int(out_before or action == "drop")
        rows.append(row | {"given": given, "dropped": dropped, "before": row["given"]})
    columns = [*APPLIED, *(["unreadable"] if any(row.get("unreadable") for row in rows) else [])]
    return count, [{column: row[column] for column in columns} for row in rows]


def read_labels(path: Path) -> list[dict[str, str]]:
    """The rows of a `labels_before.csv`, as text. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: `lnl find-errors` writes it beside errors.csv")
    rows = read_table(path)
    if lacking := [c for c in ("index", "path", "given", "dropped") if not rows or c not in rows[0]]:
        raise ValueError(f"{path} is not a table of labels: it has no {', '.join(lacking)}")
    if unknown := [row["dropped"] for row in rows if flag(row["dropped"]) is None]:
        raise ValueError(f"{path} says {unknown[0]!r} in column dropped: 1 or 0")
    return rows


def require_free(out: Path, folder: Path, searched: str | None) -> None:
    """Refuse to write corrected labels over the findings, over the table that was searched, and over any file
    that `apply` has not written as it is.
    """
    own = {file.resolve() for file in (folder / "decisions.csv", *(folder / name for name in OF_FINDINGS))}
    if out.resolve() in own:
        raise ValueError(f"{out} belongs to the findings: write the corrected labels to another file")
    if searched and out.resolve() == Path(searched).resolve():
        raise ValueError(f"{out} is the table that was searched: write the corrected labels to another file")
    if not (out.exists() or out.is_symlink()):
        return
    if out.is_symlink() or not out.is_file() or digest_of(read_file(out)) not in applied(folder):
        raise ValueError(
            f"{out} is there and is not, unchanged, what `lnl apply` wrote from these findings: name another "
            "file, or move it away"
        )


def require_classes(made: dict[str, tuple[str, str]], classes: list[str] | None, path: Path) -> None:
    """Refuse labels that are no class of the findings, and empty ones."""
    for image, (action, label) in made.items():
        if action in ("accept", "class") and (not label or (classes and label not in classes)):
            there = f": {', '.join(classes[:20])}" if classes else ""
            raise ValueError(f"{path} gives {image} the label {label!r}, which is no class{there}")


def _settle(folder: Path) -> None:
    """Finish a search that was killed when it had written everything."""
    if (folder / ".findings").exists():
        from .findings import open_findings  # heavy, as below

        open_findings(folder)


def _as_they_are(folder: Path, seen: dict[str, Seen]) -> dict[str, Seen]:
    """The images of the findings with the digests that they have now; none where they cannot be looked at."""
    if not any(image.digest for image in seen.values()) or not (folder / "summary.json").exists():
        return {}
    from .findings import open_findings  # heavy, and needed for nothing else here

    try:
        now = open_findings(folder).digests_now()
    except (OSError, ValueError, RunError, KeyError) as error:
        print(
            f"the images were not looked at again, whether they changed is unknown: {error}", file=sys.stderr
        )
        return {}
    return {image: seen[image]._replace(digest=digest) for image, digest in now.items() if image in seen}


def _summary(folder: Path) -> dict:
    try:
        found = read_json(folder / "summary.json")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _note_applied(folder: Path, content: bytes) -> None:
    known = {digest: when for digest, when in applied(folder).items() if digest != digest_of(content)}
    known = dict([*known.items()][-99:]) | {digest_of(content): utc()}
    with contextlib.suppress(RunError):  # findings that cannot be written: out cannot be overwritten later
        save_atomically(folder / "applied.json", json_bytes(known))
