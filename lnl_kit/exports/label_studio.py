"""Findings as tasks of Label Studio, and what people decided there back into decisions.csv."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from ..data.label_paths import match
from ..files import json_bytes, read_json
from ..label_errors.decision_file import Decisions
from ..label_errors.findings import Findings, open_findings

if TYPE_CHECKING:
    from .findings import Row, Told

BYTES = 2**30  # the largest export that is read
LABEL, ACTION = "label", "action"  # the two questions of the labelling interface
OTHER = ("drop", "unsure")  # answers to the second
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
README = """\
# Findings for Label Studio

1. Start Label Studio where it may read the images: `LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true`, and
   `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT` set to the folder *above* that of the images, which `export.json`
   calls `images_folder`; add the folder of the images as a local storage of the project. For images on a
   server, export again with `--url https://.../`.
2. New project, Settings, Labelling interface, Code: paste `config.xml`. Import: `tasks.json`.
3. Afterwards: Export, JSON, then `lnl import-decisions FINDINGS export.json`, and `lnl apply` as after any
   review.
"""


# ---------------------------------------------------------------- out


def files(rows: list[Row], told: Told, count: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """tasks.json, config.xml and README.md. A task carries what speaks against the label as data, the more
    probable class as a prediction, and a decision as an annotation.
    """
    yield "config.xml", config(told.classes).encode()
    yield "tasks.json", json_bytes([task(row, told) for row in rows])
    yield "README.md", README.encode()


def task(row: Row, told: Told) -> dict:
    """One image, as Label Studio imports it."""
    suspected = row.suspicion >= 0.5
    found: dict = {
        "data": {
            "image": address(row, told),
            "image_name": row.image,
            "given": row.given,
            "suggested": row.suggested,
            "suspicion": row.suspicion,
            "because": row.because,
            "why": f"labelled {row.given}, perhaps {row.suggested}: {row.because}",
            "kind": row.kind,
            "digest": row.digest,
        },
        "predictions": [
            {
                "model_version": told.made_by,
                "score": row.suspicion if suspected else 1 - row.suspicion,
                "result": [answer(LABEL, row.suggested if suspected else row.given)],
            }
        ],
    }
    if row.action:
        chosen = answer(ACTION, row.action) if row.action in OTHER else answer(LABEL, row.label)
        found["annotations"] = [{"result": [chosen], "was_cancelled": False}]
    return found


def answer(question: str, choice: str) -> dict:
    """A choice, as Label Studio writes one."""
    return {"from_name": question, "to_name": "image", "type": "choices", "value": {"choices": [choice]}}


def address(row: Row, told: Told) -> str:
    """Where Label Studio finds an image: below `url`, else through its local storage."""
    if told.url:
        return told.url + quote(row.path)
    return "/data/local-files/?d=" + quote(f"{told.folder.name}/{row.path}")


def config(classes: list[str]) -> str:
    """The labelling interface: the image, why it is suspected, its class, and drop or unsure instead."""
    if strange := [name for name in classes if NOT_XML.search(name)]:
        raise ValueError(
            f"class {strange[0]!r} has characters that Label Studio's XML cannot hold: rename the class, or "
            "export to another format"
        )
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    return f"""<View>
  <Image name="image" value="$image" zoom="true"/>
  <Text name="why" value="$why"/>
  <Choices name="{LABEL}" toName="image" choice="single" showInline="true">
{choices}
  </Choices>
  <Choices name="{ACTION}" toName="image" choice="single" showInline="true">
    <Choice value="{OTHER[0]}"/>
    <Choice value="{OTHER[1]}"/>
  </Choices>
</View>
"""


# ---------------------------------------------------------------- and back


class Said(NamedTuple):
    """What a task says of an image."""

    image: str
    digest: str  # of its pixels when it was exported; "" = not known
    given: str  # its label then; "" = not known
    choice: str  # a class, or "" where it is
    action: str  # drop or unsure


def import_decisions(findings: Findings | str | Path, export: str | Path) -> dict[str, int]:
    """Take over what people decided in Label Studio; returns how many decisions are new, and what else came.

    export: the JSON of Label Studio's export. The given label chosen keeps it, another one changes it.
    Nothing is written twice: what stands already is left alone. Of several annotations the last counts. Left
    out, and counted: tasks without an annotation, images that are not in the findings,
    labels that are no class, images and labels that are others today than when they were exported. Raises
    ValueError or FileNotFoundError with one sentence, before anything is written.
    """
    opened = findings if isinstance(findings, Findings) else open_findings(findings)
    tasks = read_tasks(Path(export))
    count: dict[str, int] = {}

    def told(what: str) -> None:
        count[what] = count.get(what, 0) + 1

    seen, classes = opened.seen(), set(opened.classes)
    decisions = Decisions(opened.folder / "decisions.csv", seen)
    standing = decisions.made
    new: dict[str, tuple[str, str]] = {}
    suggested = dict(zip(opened.table["image"], opened.table["suggested"]))
    names = names_of(tasks, list(seen))
    for n, one in enumerate(tasks):
        said, why = read(one, names[n])
        if said is None or why:
            told(why)
        elif said.image not in seen:
            told("left out, as the findings have no such image")
        elif said.digest and seen[said.image].digest and said.digest != seen[said.image].digest:
            told("left out, as the image is another one than when it was exported")
        elif said.given and said.given != seen[said.image].given:
            told("left out, as the image had another label when it was exported")
        elif said.choice and said.choice not in classes:
            told("left out, as their label is no class of the findings")
        else:
            given = seen[said.image].given
            action = said.action or (
                "keep"
                if said.choice == given
                else "accept"
                if said.choice == suggested[said.image]
                else "class"
            )
            label = said.choice if action in ("accept", "class") else ""
            before = new.get(said.image, standing.get(said.image))
            if before is not None and outcome(*before, given) == outcome(action, label, given):
                told("as decided before")
            else:
                new[said.image] = (action, label)
    decisions.add_all((image, *made) for image, made in new.items())
    return {"decisions taken over": len(new)} | count


def outcome(action: str, label: str, given: str) -> tuple[str, str]:
    """What a decision comes to, however it was reached."""
    if action in OTHER:
        return action, ""
    return "label", label if action in ("accept", "class") else given


def read_tasks(path: Path) -> list[dict]:
    """The tasks of an export. Raises ValueError for any other file."""
    try:
        tasks = read_json(path, BYTES)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(f"no file {path}: Label Studio writes it by Export, JSON") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}): export it from Label Studio as JSON") from None
    good = isinstance(tasks, list) and all(
        isinstance(t, dict) and isinstance(t.get("data"), dict) and isinstance(t.get("annotations"), list)
        for t in tasks
    )
    if not good:
        raise ValueError(
            f"{path} is not Label Studio's JSON (a list of tasks with data and annotations): export it "
            "again, as JSON, not as JSON-MIN or CSV"
        )
    return tasks


def names_of(tasks: list[dict], images: list[str]) -> list[str]:
    """What the findings call the image of each task: by the name in its data, else by its address."""
    keys = [one["data"].get("image_name") or one["data"].get("image") for one in tasks]
    told = [key if isinstance(key, str) else "" for key in keys]
    found = match([key for key in told if key not in set(images)], images).at
    return [images[found[key]] if key in found else key for key in told]


def read(one: dict, image: str) -> tuple[Said | None, str]:
    """(what a task says, or None, and why it says nothing)."""
    made = [a for a in one["annotations"] if isinstance(a, dict)]
    kept = [a for a in made if not a.get("was_cancelled")]
    answers = [found for a in kept if (found := chosen(a))]
    if not answers:
        why = "skipped there" if made and not kept else "without an annotation"
        return None, f"left out, as they are {why}"
    choice, action = answers[-1]
    if len(choice) > 1:
        return None, "left out, as they have several classes"
    data = {k: str(one["data"].get(k) or "") for k in ("digest", "given")}
    return Said(image, data["digest"], data["given"], "" if action else choice[0], action), ""


def chosen(annotation: dict) -> tuple[list[str], str] | None:
    """(classes chosen, drop or unsure) of an annotation, None where it answers neither question."""
    found: dict[str, list[str]] = {}
    for part in annotation.get("result") or []:
        value = part.get("value") if isinstance(part, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list) and choices:
            found[str(part.get("from_name"))] = [str(choice) for choice in choices]
    action = next((a for a in found.pop(ACTION, []) if a in OTHER), "")
    classes = found.get(LABEL) or next(iter(found.values()), [])
    return (classes, action) if classes or action else None
