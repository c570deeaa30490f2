"""The review widget: suspicious images to go through by mouse or keyboard; each decision is saved at once."""

from __future__ import annotations

from pathlib import Path

import anywidget
import numpy as np
import traitlets

from .. import texts
from ..files import RunError
from .decision_file import Decisions
from .findings import Findings, by_kind, open_findings
from .pictures import picture

PAGE = 12  # images on the wall at a time


class Review(anywidget.AnyWidget):
    """Images whose labels look wrong, most suspicious first; decisions go to the findings' decisions.csv.

    findings: what `open_findings` returns, or its folder; language: see `lnl_kit.texts`. A review that was
    begun goes on. `made` is {image: (action, label)}. Images that were changed or removed since the errors
    were looked for are left out, and the line on top says so.
    """

    _esm = Path(__file__).with_name("review.js")
    words: traitlets.Dict = traitlets.Dict().tag(sync=True)  # the texts of the page
    status = traitlets.Unicode().tag(sync=True)
    classes: traitlets.List = traitlets.List().tag(sync=True)
    # (K, K): undecided suspicious images, row = given class, column = suggested
    counts: traitlets.List = traitlets.List().tag(sync=True)
    cards: traitlets.List = traitlets.List().tag(sync=True)
    cursor = traitlets.Int(0).tag(sync=True)
    page = traitlets.Int(0).tag(sync=True)
    pages = traitlets.Int(1).tag(sync=True)
    filter: traitlets.List = traitlets.List().tag(sync=True)  # [given, suggested], or [] for all
    kinds: traitlets.List = traitlets.List().tag(sync=True)  # [what is wrong with images, how many]
    kind = traitlets.Unicode().tag(sync=True)  # of those, the one that is shown, or "" for all images
    undoable = traitlets.Bool(False).tag(sync=True)
    revision = traitlets.Int(0).tag(sync=True)  # set last: the page draws itself anew when it changes

    def __init__(self, findings: Findings | str | Path, language: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self._texts = texts.of(language)
        self.words = self._texts.part("review") | {"language": self._texts.language}
        self._findings = findings if isinstance(findings, Findings) else open_findings(findings)
        self._since = self._findings.changed()
        table, changed = self._findings.table, {*self._since["changed"], *self._since["removed"]}
        self._table = table[~table["image"].isin(changed)].reset_index(drop=True)
        self._place = {image: n for n, image in enumerate(self._table["image"])}
        self.decisions = Decisions(self._findings.folder / "decisions.csv", self._findings.seen())
        self.classes = list(self._findings.classes)
        self._by_kind = by_kind(self._table, self._findings.summary.get("alike", []))
        self.kinds = [[kind, len(rows), self._texts.kinds(kind)] for kind, rows in self._by_kind.items()]
        self._problem = ""
        self._go_to_undecided(0)
        self._show()
        self.on_msg(self._receive)

    @property
    def made(self) -> dict[str, tuple[str, str]]:
        """{image: (action, label)}: the decisions that stand."""
        return self.decisions.made

    def _receive(self, _, message: dict, __) -> None:
        """What the page sends when something was pressed."""
        self._problem, what = "", message.get("do")
        try:
            if what == "decide":
                self._decide(message["image"], message["action"], message.get("label", ""))
            elif what == "undo":
                self._undo()
            elif what == "filter":
                self.filter, self.kind = self._cell(message["filter"]), ""
                self._go_to_undecided(0)
            elif what == "kind":
                self.filter, self.kind = [], self._known(message["kind"])
                self._go_to_undecided(0)
            elif what == "page":
                self.page, self.cursor = min(max(0, int(message["page"])), self.pages - 1), 0
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RunError,
        ) as problem:  # said on the page, and nothing else has changed
            self._problem = self._texts("status.problem", problem=problem)
        self._show()

    def _cell(self, cell) -> list[int]:
        """A cell of the table [given, suggested], or [] for all; ValueError for anything else."""
        if cell and (len(cell) != 2 or not all(type(k) is int and 0 <= k < len(self.classes) for k in cell)):
            raise ValueError(f"the table has no cell {cell!r}")
        return list(cell)

    def _known(self, kind) -> str:
        """A kind that images here have, or "" for all; ValueError for anything else."""
        if kind and kind not in self._by_kind:
            raise ValueError(f"no image here is of the kind {kind!r}")
        return kind

    def _decide(self, image: str, action: str, label: str) -> None:
        if image not in self._place:
            raise ValueError(f"{image!r} is not among the images of this review")
        if action == "accept":
            label = self._table["suggested"][self._place[image]]
        if action == "class" and label not in self.classes:
            raise ValueError(f"{label!r} is no class: {', '.join(self.classes)}")
        if action not in ("accept", "class"):
            label = ""
        self.decisions.add(image, action, label)  # on disk when this returns
        listed = self._listed()
        self._go_to_undecided(int(np.flatnonzero(listed == self._place[image])[0]) + 1)

    def _undo(self) -> None:
        image = self.decisions.undo()
        if image in self._place:
            if self._place[image] not in self._listed():
                self.filter, self.kind = [], ""
            self._go_to(int(np.flatnonzero(self._listed() == self._place[image])[0]))

    def _listed(self) -> np.ndarray:
        """Rows of the table on the pages, by suspicion; under a filter those that its cell counted, or all of
        one kind.
        """
        if self.kind:
            return self._by_kind[self.kind]
        if not self.filter:
            return np.arange(len(self._table))
        given, suggested = (self.classes[k] for k in self.filter)
        alike = (self._table["given"] == given) & (self._table["suggested"] == suggested)
        return np.flatnonzero(alike & (self._table["suspicion"] >= 0.5))

    def _go_to(self, at: int) -> None:
        self.page, self.cursor = divmod(max(0, at), PAGE)

    def _go_to_undecided(self, at: int) -> None:
        """To the first undecided image from that place of the list on, or else from its start."""
        images, made = self._table["image"].to_numpy()[self._listed()], self.made
        waiting = [n for n, image in enumerate(images) if image not in made]
        self._go_to(
            next((n for n in waiting if n >= at), waiting[0] if waiting else min(at, len(images) - 1))
        )

    def _show(self) -> None:
        """Bring everything that the page shows up to date."""
        made, listed = self.made, self._listed()
        waiting = ~self._table["image"].isin(made)
        errors_left = float(self._table["suspicion"][waiting].sum())
        suspects = self._table[waiting & (self._table["suspicion"] >= 0.5)]
        at = {name: k for k, name in enumerate(self.classes)}
        counts = np.zeros((len(at), len(at)), int)
        np.add.at(
            counts, (suspects["given"].map(at).to_numpy(int), suspects["suggested"].map(at).to_numpy(int)), 1
        )
        changed = sum(action in ("accept", "class") for action, _ in made.values())
        say = self._texts
        since = ", ".join(say(f"status.{what}", n=len(i)) for what, i in self._since.items() if i)
        warning = say("status.since", since=since) if since else ""
        left = f"{errors_left:.0f}"
        done = say("status.done", decided=len(made), relabelled=changed, left=left, images=int(waiting.sum()))
        stale = "".join(
            say("status.stale", n=len(images), why=why) for why, images in self.decisions.left_out.items()
        )
        with self.hold_sync():
            self.status = f"{self._problem}{warning}{stale}{done}"
            self.counts, self.undoable = counts.tolist(), bool(made)
            self.pages = max(1, -(-len(listed) // PAGE))
            self.cards = [self._card(int(n), made) for n in listed[self.page * PAGE : (self.page + 1) * PAGE]]
        self.revision += 1

    def _card(self, n: int, made: dict) -> dict:
        row = self._table.iloc[n]
        action, label = made.get(row["image"], ("", ""))
        return {
            "image": row["image"],
            "src": picture(self._findings, row),
            "given": row["given"],
            "suggested": row["suggested"],
            "suspicion": float(row["suspicion"]),
            "because": self._texts.reason(row["because"]),
            "kind": self._texts.kinds(row.get("kind", "")),
            "decision": self._texts("decided.now", label=label)
            if action in ("accept", "class")
            else self._texts(f"decided.{action}")
            if action
            else "",
        }
