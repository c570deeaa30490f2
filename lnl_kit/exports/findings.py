"""`lnl export FINDINGS`: suspicions, suggestions and decisions as tools that label read them."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..data.images import open_image
from ..data.naming import PACKED
from ..files import RunError, json_bytes, lock, make_folder, read_file, save_atomically
from ..label_errors.decision_file import Decisions
from ..label_errors.findings import Findings, open_findings
from . import coco, fiftyone, hugging_face, label_studio, spreadsheet
from .runs import require_own

WRITERS = {
    "label-studio": label_studio.files,
    "coco": coco.files,
    "hf": hugging_face.files,
    "fiftyone": fiftyone.files,
    "csv": spreadsheet.files,
}
ABOUT = "export.json"
IMAGE_BYTES = 2**28  # of one image file that is copied


class Row(NamedTuple):
    """An image of the findings with all that is known and was decided about it."""

    image: str  # its path, or position
    path: str  # of its file, relative to `Told.folder`
    given: str
    suggested: str
    suspicion: float
    because: str
    kind: str
    split: str
    digest: str
    action: str  # keep, accept, class, drop, unsure, or "" where nothing was decided
    label: str  # as decided, else as given; "" of a dropped image

    @property
    def changed(self) -> bool:
        """Whether a decision changes anything: another label, or none."""
        return self.label != self.given


@dataclass(frozen=True)
class Told:
    """What a writer is told beside the rows."""

    classes: list[str]
    folder: Path  # where the image files lie
    follow_links: bool
    max_pixels: int | None
    url: str | None  # what goes before a path, where images are on a server
    made_by: str

    def size(self, row: Row) -> tuple[int, int]:
        """(width, height) of an image file, as it is stored. Raises ValueError or OSError."""
        with open_image(
            self.folder / row.path, None if self.follow_links else self.folder, self.max_pixels
        ) as i:
            return i.size

    def content(self, row: Row) -> bytes:
        """The bytes of an image file, which must be an image in its folder. Raises ValueError or OSError."""
        self.size(row)
        return read_file(self.folder / row.path, IMAGE_BYTES)


def export_findings(
    findings: Findings | str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    changed: bool = False,
    url: str | None = None,
) -> tuple[Path, dict[str, int]]:
    """Write findings for another tool; returns the folder and how many images were written and left out, why.

    to: label-studio, coco, hf, fiftyone or csv. out: a new or empty folder, or one of an earlier export; None
    = `export-<to>` in the findings. changed: only images whose label a decision changes or drops. url: of
    images on a server, what stands before their path.
    Images that changed or are gone since the search are left out, and decisions that do not stand count as
    none; both are counted. Images of a set that has no files of its own are written as PNG beside. Raises
    ValueError, FileNotFoundError or RunError with one sentence.
    """
    if to not in WRITERS:
        raise ValueError(f"findings cannot be exported to {to!r}: {', '.join(WRITERS)}")
    opened = findings if isinstance(findings, Findings) else open_findings(findings)
    folder = Path(out) if out else opened.folder / f"export-{to}"
    require_own(folder, ABOUT)
    rows, count = rows_of(opened)
    chosen = [row for row in rows if row.changed] if changed else rows
    if changed:
        count["left out, as no decision changes their label"] = len(rows) - len(chosen)
    make_folder(folder)
    asked = opened.summary["asked"]
    version = opened.summary.get("versions", {}).get("lnl_kit", "")
    packed = asked["dataset"].startswith(PACKED)  # in the cache, which may be deleted
    own = None if packed else opened.images_folder
    told = Told(
        opened.classes,
        own.absolute() if own else (folder / "images").absolute(),
        bool(asked.get("follow_links")),
        asked.get("max_pixels"),
        url,
        f"lnl-kit {version} find-errors",
    )
    with lock(folder):
        if own is None:
            chosen = with_files(opened, chosen, folder / "images")
        for name, content in WRITERS[to](chosen, told, count):
            make_folder((folder / name).parent)
            save_atomically(folder / name, content)
        count = {"images written": len(chosen)} | {k: v for k, v in count.items() if v}
        about = {"made_by": told.made_by, "format": to, "only_changed": changed, "counts": count}
        about["images_folder"] = str(told.folder)
        save_atomically(folder / ABOUT, json_bytes(about))
    return folder, count


def rows_of(findings: Findings) -> tuple[list[Row], dict[str, int]]:
    """(the images of the findings as they are today, most suspicious first; what was left out or not taken
    over, and how many).
    """
    count: dict[str, int] = {}
    seen = findings.seen()
    gone: set[str] = set()
    try:
        now = findings.digests_now()
        gone = {image for image in seen if image not in now}
        other = {i for i, s in seen.items() if i in now and s.digest and now[i] and now[i] != s.digest}
        count["left out, as they are not there any more"] = len(gone)
        count["left out, as the images changed since"] = len(other)
        gone |= other
    except (OSError, ValueError, RunError, KeyError) as error:
        print(
            f"the images were not looked at again, whether they changed is unknown: {error}", file=sys.stderr
        )
    decisions = Decisions(findings.folder / "decisions.csv", seen)
    for why, images in decisions.left_out.items():
        count[f"with a decision that does not stand, as {why}"] = len(images)
    made, rows = decisions.made, []
    for row in findings.table.to_dict("records"):
        if row["image"] in gone:
            continue
        action, chosen = made.get(row["image"], ("", ""))
        label = "" if action == "drop" else chosen if action in ("accept", "class") else row["given"]
        more = {k: row.get(k, "") for k in ("because", "kind", "split", "digest", "path")}
        told = {k: row[k] for k in ("image", "given", "suggested", "suspicion")}
        rows.append(Row(**told, **more, action=action, label=label))
    if strange := sorted({row.label for row in rows if row.label} - set(findings.classes)):
        raise ValueError(
            f"{findings.folder / 'decisions.csv'} names {strange[0]!r}, which is no class of the findings: "
            f"{', '.join(findings.classes[:20])}"
        )
    return rows, count


def with_files(findings: Findings, rows: list[Row], folder: Path) -> list[Row]:
    """The rows of a set without image files of its own, each written as a PNG of the pixels seen."""
    make_folder(folder)
    found = []
    for n, row in enumerate(rows):
        pixels = findings.pixels(row.image)
        if pixels is None:
            continue
        name = f"{n:06d}-{row.digest[:8]}.png"
        save_atomically(folder / name, png(pixels))
        found.append(row._replace(path=name))
    return found


def png(pixels: np.ndarray) -> bytes:
    """uint8 (C, H, W) as a PNG."""
    image = Image.fromarray(
        pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    )
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
