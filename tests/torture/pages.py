"""Hostile strings on every page of the kit, in a real browser whose network and scripts are watched."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from findings_by_hand import photos, search
from hostile import notebook, open_all, serving, what_runs
from hostile_strings import drawn
from nbformat.v4 import new_markdown_cell
from runs_by_hand import made_run
from tasks import settle
from test_review import card, show

from lnl_kit.board import live
from lnl_kit.label_errors.findings import Findings
from lnl_kit.label_errors.pictures import picture
from lnl_kit.label_errors.report import report_bytes
from lnl_kit.reproduce import pages

BATCH = 50  # strings on one set of pages; a sample has fewer
DRAWN = ".main-svg"


@contextlib.contextmanager
def chromium():
    """A headless browser; None where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        yield None
        return
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        yield None
        return
    with sync_playwright() as p:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = p.chromium.launch(executable_path=path, args=arguments)
        yield running
        running.close()


def notebooks(strings: list[str], root: Path) -> list[Path]:
    """The pages of a notebook that shows them and of one that failed, and the index."""
    folder, entries = root / "notebooks", []
    folder.mkdir()
    for n, status in enumerate(("finished", "failed")):
        made = notebook(strings[n], strings)
        made.cells += [new_markdown_cell(f"# {one}") for one in strings]
        nbformat.write(made, folder / f"{n}.ipynb")
        error = {"cell": strings[0], "line": strings[0], "message": "\n".join(strings)}
        told = dict(zip(strings, reversed(strings)))
        record = {"notebook": strings[n], "of": strings[-n], "status": status, "parameters": told}
        record |= {"seconds": 1.5, "error": error if n else None}
        entries.append((record, pages.write_page(folder / f"{n}.ipynb", record)))
    index = pages.write_index(folder, entries, strings)
    return [index, *(p for p in folder.glob("*.html") if p != index)]


def report(strings: list[str], root: Path, found: Findings) -> Path:
    """Findings whose classes, images, reasons and settings they are."""
    table, summary = found.table.copy(), json.loads(json.dumps(found.summary))
    names = [strings[n % len(strings)] for n in range(len(table))]
    for column in ("given", "suggested", "because", "image"):
        table[column] = names
    table["kind"] = "near duplicate, other label; dark"
    for key in ("dataset", "noise", "recipe", "device"):
        summary[key] = " ".join(strings)
    summary["versions"], summary["alike"] = {"lnl_kit": strings[1]}, [names]
    summary["conflicting_duplicates"] = [list(zip(strings, reversed(strings)))]
    summary["confused_pairs"] = [{"true": s, "given": s, "images": 1.0} for s in strings]
    summary["classes"] = (strings * len(found.classes))[: len(found.classes)]
    path = root / "report.html"
    path.write_bytes(report_bytes(Findings(found.folder, table, summary), picture))
    return path


def board(strings: list[str], root: Path) -> Path:
    """Runs whose methods, data, noise, presets and numbers they are."""
    runs = root / "runs"
    made_run(runs, 1)  # with curves to be drawn
    for n, text in enumerate(strings):
        other = strings[-1 - n]
        more = {"preset": text, "noise": other} if n % 3 else {"dataset": other, "model": text}
        wrong = {"test_accuracy_best": other, "seconds": other} if n % 5 == 0 else {}
        made_run(runs, n + 10, method=text, beside=n % 2 == 0, finished=n % 4 > 0, **more | wrong)
    path = root / "board.html"
    live.write(runs, path, 0)
    return path


THEIRS = "#here :is(script, iframe, svg, style, link, img, a, form, object, embed, math)"


def review(strings: list[str], browser) -> str:
    """What runs, or becomes an element, in the widget of the review."""
    counts = []
    for texts in (["plain"] * len(strings), strings):
        cards = [card(f"{n}{s}", s, texts[0], because=s, decision=s) for n, s in enumerate(texts)]
        page, press = show(
            browser, cards=cards, classes=[*texts[:9], "b"], counts=[[0, 2], [1, 0]], status=texts[0]
        )
        sent = press("a", "ArrowRight", "k", "1", "Enter", "Escape")
        hurt, found = page.evaluate("window.hurt"), page.locator(THEIRS).count()
        page.close()
        counts.append(found)
        if hurt is not None or counts[0] != found:
            return f"review: hurt {hurt}, {found} elements instead of {counts[0]}"
        if not sent or sent[0]["image"] != cards[0]["image"]:
            return f"review: another image was decided: {sent}"
    return ""


def what_is_wrong(strings: list[str], browser, server, found: Findings) -> str:
    """Empty where no string ran and nothing was fetched, on no page."""
    asked = server[1]
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        root = Path(folder)
        try:
            written = [*notebooks(strings, root), report(strings, root, found), board(strings, root)]
            open_all(browser, asked, written, DRAWN)
            return review(strings, browser)
        except Exception as error:  # that a page cannot be made of them is a fault too
            asked.clear()
            return f"{type(error).__name__}: {str(error)[:1500]}"


def cases(first: int, batch: int = BATCH) -> Iterator[tuple[str, dict | None, dict]]:
    """String by string, a few dozen on one set of pages; more: how many of them ran or fetched something on a
    page without any guard, which is the control.
    """
    with chromium() as browser, serving() as server, tempfile.TemporaryDirectory() as kept:
        if browser is None:
            print("pages: left out, there is no Chromium", flush=True)
            return
        settle(Path(kept))
        found = search(photos(Path(kept) / "photos", tuple("abcdefghijkl"), each=2), Path(kept) / "found")
        while True:
            several = [drawn(server[0], first + n) for n in range(batch)]
            strings = [text for _, text in several]
            bare = Path(tempfile.mkdtemp(dir=kept))
            told = what_runs(
                browser, server[1], bare, strings, lambda s: s.replace("Content-Security-Policy", "none")
            )
            wrong = what_is_wrong(strings, browser, server, found)
            for n, (kind, text) in enumerate(several):
                here = wrong and what_is_wrong([text] * 3, browser, server, found)
                fault = {"case": first + n, "string": text, "wrong": here}
                if wrong and n == batch - 1 and not here:
                    fault |= {"wrong": wrong, "string": "several together"}
                yield kind, fault if fault["wrong"] else None, {str(first): sum(told)} if n == 0 else {}
            first += batch
