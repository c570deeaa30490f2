"""The review widget: what it sends to the page, what it does with what the page sends, and names that are only ever text."""

import csv
import json
import os
from pathlib import Path

import pytest

import lnl_kit
from lnl_kit import errors, review
from lnl_kit.decisions import Decisions


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Findings on digits with wrong labels, after hardly any training."""
    place = tmp_path_factory.mktemp("found")
    lnl_kit.find_errors("digits", noise="symmetric", rate=0.4, epochs=12, views=1, progress=False, report=False, train_size=300, to=place, out=place / "runs")
    return errors.open_findings(place)


@pytest.fixture
def wall(findings):
    """A review that nobody has begun."""
    (findings.folder / "decisions.csv").unlink(missing_ok=True)
    return review.Review(findings)


def send(wall, do, **message):
    wall._receive(wall, {"do": do, **message}, None)


def test_the_most_suspicious_come_first_and_nothing_is_decided(wall, findings):
    assert [c["image"] for c in wall.cards] == list(findings.table["image"][:review.PAGE]) and wall.cursor == wall.page == 0
    assert wall.pages == -(-300 // review.PAGE) and wall.made == {} and not wall.undoable
    assert wall.status.startswith("0 decided, 0 relabelled; about ") and wall.cards[0]["src"].startswith("data:image/png")


def test_a_decision_is_on_disk_before_the_page_shows_the_next(wall, findings):
    seen, path = [], findings.folder / "decisions.csv"
    wall.observe(lambda change: seen.append(len(Decisions(path).made)), "revision")
    for n in range(review.PAGE + 2):
        send(wall, "decide", image=wall.cards[wall.cursor]["image"], action="accept")
    assert seen == list(range(1, review.PAGE + 3)) and wall.page == 1 and wall.cursor == 2
    assert list(wall.made) == list(findings.table["image"][:review.PAGE + 2])
    assert [label for _, label in wall.made.values()] == list(findings.table["suggested"][:review.PAGE + 2])
    again = review.Review(findings)  # tomorrow, or after a crash
    assert again.made == wall.made and (again.page, again.cursor) == (1, 2)


def test_every_action_and_undo(wall, findings):
    for action, word in (("keep", "kept"), ("drop", "dropped"), ("unsure", "unsure")):
        image = wall.cards[wall.cursor]["image"]
        send(wall, "decide", image=image, action=action)
        assert next(c for c in wall.cards if c["image"] == image)["decision"] == word
    send(wall, "decide", image=wall.cards[wall.cursor]["image"], action="class", label="7")
    assert wall.cards[3]["decision"] == "now 7" and wall.status.startswith("4 decided, 1 relabelled")
    send(wall, "undo")
    assert len(wall.made) == 3 and wall.cursor == 3 and wall.cards[3]["decision"] == "" and wall.undoable
    send(wall, "decide", image=wall.cards[0]["image"], action="drop")  # a change of mind
    assert wall.made[wall.cards[0]["image"]] == ("drop", "") and len(wall.made) == 3
    send(wall, "undo")
    assert wall.made[wall.cards[0]["image"]] == ("keep", "")


def test_a_cell_of_the_table_filters_and_counts_what_is_undecided(wall, findings):
    table, counts = findings.table, wall.counts
    suspects = table[table["suspicion"] >= 0.5]
    assert sum(map(sum, counts)) == len(suspects)
    given, suggested = next((g, s) for g in range(10) for s in range(10) if counts[g][s])
    send(wall, "filter", filter=[given, suggested])
    assert {(c["given"], c["suggested"]) for c in wall.cards} == {(str(given), str(suggested))}
    send(wall, "decide", image=wall.cards[0]["image"], action="keep")
    assert wall.counts[given][suggested] == counts[given][suggested] - 1 and wall.filter == [given, suggested]
    send(wall, "filter", filter=[])
    assert len(wall.cards) == review.PAGE and wall.filter == []
    send(wall, "page", page=10**6)
    assert wall.page == wall.pages - 1


def test_what_cannot_be_written_is_said_and_not_decided(wall, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    before = (wall.page, wall.cursor)
    send(wall, "decide", image=wall.cards[0]["image"], action="drop")
    assert "not saved: [Errno 28] No space left on device" in wall.status and wall.made == {} and (wall.page, wall.cursor) == before
    monkeypatch.undo()
    send(wall, "decide", image=wall.cards[0]["image"], action="drop")
    assert "not saved" not in wall.status and len(wall.made) == 1


NASTY = '<img src=x onerror="window.hurt = true">'
PAGE = """<div id=here></div><script type=module>
import widget from "%s";
window.sent = [];
const values = %s;
widget.render({ model: { get: (k) => values[k], send: (m) => window.sent.push(m), on: () => {}, off: () => {} }, el: document.getElementById("here") });
window.ready = true;
</script>"""


@pytest.mark.browser
def test_names_with_markup_are_text_on_the_page_and_keys_are_sent(browser, tmp_path):
    cards = [{"image": f"{NASTY}/{n}", "src": "data:,", "given": NASTY, "suggested": "b", "suspicion": 0.5, "because": NASTY, "decision": NASTY} for n in range(3)]
    values = {"cards": cards, "classes": [NASTY, "b"], "counts": [[0, 2], [1, 0]], "status": NASTY, "page": 0, "pages": 2, "filter": [0, 1], "undoable": True, "cursor": 0}
    script = "data:text/javascript;base64," + __import__("base64").b64encode(Path(review.__file__).with_name("review.js").read_bytes()).decode()
    page = browser.new_page()
    page.set_content(PAGE % (script, json.dumps(values).replace("<", "\\u003c")))
    page.wait_for_function("window.ready")
    assert page.evaluate("window.hurt === undefined") and page.locator("#here img").count() == 3  # the pictures and no other
    assert page.locator(".status").text_content() == NASTY and page.locator(".given").first.text_content() == NASTY
    page.locator(".lnl-review").focus()
    for key in ("a", "ArrowRight", "k", "1", "u", "d", "z", "PageDown", "Tab"):
        page.keyboard.press(key)
    page.locator(".heat button").nth(1).click()
    page.locator("button", has_text="Show all").click()
    first, second = cards[0]["image"], cards[1]["image"]
    assert page.evaluate("window.sent") == [
        {"do": "decide", "image": first, "action": "accept", "label": ""}, {"do": "decide", "image": second, "action": "keep", "label": ""},
        {"do": "decide", "image": second, "action": "class", "label": "b"}, {"do": "decide", "image": second, "action": "unsure", "label": ""},
        {"do": "decide", "image": second, "action": "drop", "label": ""}, {"do": "undo"}, {"do": "page", "page": 1},
        {"do": "filter", "filter": [1, 0]}, {"do": "filter", "filter": []}]


def test_the_file_of_decisions_is_a_plain_table(wall, findings):
    send(wall, "decide", image=wall.cards[0]["image"], action="accept")
    with open(findings.folder / "decisions.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["action"] == "accept" and row["label"] == findings.table["suggested"][0] and row["when"].endswith("Z")
