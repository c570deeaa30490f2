"""The review widget: what it sends to the page, what it does with what the page sends, and names that are
only ever text.
"""

import base64
import csv
import json
import os
from pathlib import Path

import pytest

import lnl_kit
from lnl_kit import texts
from lnl_kit.label_errors import review
from lnl_kit.label_errors.decisions import Decisions
from lnl_kit.label_errors.findings import Findings, open_findings


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Findings on digits with wrong labels, after hardly any training."""
    place = tmp_path_factory.mktemp("found")
    lnl_kit.find_errors(
        "digits",
        noise="symmetric",
        rate=0.4,
        epochs=12,
        views=1,
        progress=False,
        report=False,
        train_size=300,
        to=place,
        out=place / "runs",
    )
    return open_findings(place)


@pytest.fixture
def wall(findings):
    """A review that nobody has begun."""
    (findings.folder / "decisions.csv").unlink(missing_ok=True)
    return review.Review(findings)


def send(wall, do, **message):
    wall._receive(wall, {"do": do, **message}, None)


def test_the_most_suspicious_come_first_and_nothing_is_decided(wall, findings):
    assert [c["image"] for c in wall.cards] == list(
        findings.table["image"][: review.PAGE]
    ) and wall.cursor == wall.page == 0
    assert wall.pages == -(-300 // review.PAGE) and wall.made == {} and not wall.undoable
    assert wall.status.startswith("0 decided, 0 relabelled; about ") and wall.cards[0]["src"].startswith(
        "data:image/png"
    )


def test_a_decision_is_on_disk_before_the_page_shows_the_next(wall, findings):
    seen, path = [], findings.folder / "decisions.csv"
    wall.observe(lambda change: seen.append(len(Decisions(path).made)), "revision")
    for _n in range(review.PAGE + 2):
        send(wall, "decide", image=wall.cards[wall.cursor]["image"], action="accept")
    assert seen == list(range(1, review.PAGE + 3)) and wall.page == 1 and wall.cursor == 2
    assert list(wall.made) == list(findings.table["image"][: review.PAGE + 2])
    assert [label for _, label in wall.made.values()] == list(findings.table["suggested"][: review.PAGE + 2])
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


def test_a_kind_shows_its_images_alone_with_those_that_look_alike_side_by_side(findings, tmp_path):
    table, names = findings.table.copy(), list(findings.table["image"][:9])
    table["kind"] = ""
    table.loc[[0, 2, 5, 7], "kind"] = "near duplicate"
    table.loc[[2, 3], "kind"] = ["near duplicate; dark", "dark"]
    alike = [[names[0], names[7]], [names[2], names[5]]]
    wall = review.Review(Findings(tmp_path, table, findings.summary | {"alike": alike}))
    assert wall.kinds == [["near duplicate", 4, "near duplicate"], ["dark", 2, "dark"]] and wall.kind == ""
    assert wall.cards[2]["kind"] == "near duplicate; dark"
    send(wall, "kind", kind="near duplicate")
    assert [c["image"] for c in wall.cards] == [names[0], names[7], names[2], names[5]]
    send(wall, "decide", image=names[0], action="drop")
    assert wall.cursor == 1 and wall.kind == "near duplicate"
    send(wall, "kind", kind="dark")
    assert [c["image"] for c in wall.cards] == [names[2], names[3]]
    send(wall, "undo")  # of an image of another kind: all are shown, this one among them
    assert wall.kind == "" and wall.cards[wall.cursor]["image"] == names[0]
    send(wall, "kind", kind="purple")
    assert "no image here is of the kind 'purple'" in wall.status and wall.kind == ""
    send(wall, "kind", kind="dark")
    given, suggested = next((g, s) for g in range(10) for s in range(10) if wall.counts[g][s])
    send(wall, "filter", filter=[given, suggested])
    assert wall.kind == "" and wall.filter == [given, suggested]


def test_findings_of_an_earlier_version_have_no_kinds(findings, tmp_path):
    old = findings.table.drop(columns="kind")
    wall = review.Review(Findings(tmp_path, old, findings.summary))
    assert wall.kinds == [] and wall.cards[0]["kind"] == ""


def test_what_cannot_be_written_is_said_and_not_decided(wall, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    before = (wall.page, wall.cursor)
    send(wall, "decide", image=wall.cards[0]["image"], action="drop")
    assert (
        "not saved: [Errno 28] No space left on device" in wall.status
        and wall.made == {}
        and (wall.page, wall.cursor) == before
    )
    monkeypatch.undo()
    send(wall, "decide", image=wall.cards[0]["image"], action="drop")
    assert "not saved" not in wall.status and len(wall.made) == 1


NASTY = '<img src=x onerror="window.hurt = true">'
PAGE = """<div id=here></div><script type=module>
import widget from "%s";
window.sent = [];
window.values = %s;
const model = { get: (k) => values[k], send: (m) => window.sent.push(m), off: () => {} };
model.on = (_, handler) => { window.answer = handler; };
widget.render({ model, el: document.getElementById("here") });
window.ready = true;
</script>"""


def show(browser, **values):
    """The widget's page with these values and no Python behind it; `answer` stands for Python's answer."""
    say = texts.of(values.pop("language", None))
    values = {"kinds": [], "kind": "", "undoable": True, "cursor": 0} | values
    values["words"] = say.part("review") | {"language": say.language}
    values = {"status": "", "page": 0, "pages": 2, "filter": []} | values
    script = (
        "data:text/javascript;base64,"
        + base64.b64encode(Path(review.__file__).with_name("review.js").read_bytes()).decode()
    )
    page = browser.new_page()
    page.set_content(PAGE % (script, json.dumps(values).replace("<", "\\u003c")))
    page.wait_for_function("window.ready")
    page.locator(".lnl-review").focus()

    def press(*keys, cursor=0):
        before = page.evaluate("window.sent.length")
        for key in keys:
            page.keyboard.press(key)
        sent = page.evaluate("window.sent")[before:]
        page.evaluate(f"values.cursor = {cursor}; answer()")
        return sent

    return page, press


def card(image, given, suggested, **other):
    """What Python sends about an image."""
    return {
        "image": image,
        "src": "data:,",
        "given": given,
        "suggested": suggested,
        "suspicion": 0.5,
        "because": "",
        "decision": "",
    } | other


@pytest.mark.browser
def test_names_with_markup_are_text_on_the_page_and_keys_are_sent(browser):
    cards = [card(f"{NASTY}/{n}", NASTY, "b", because=NASTY, decision=NASTY) for n in range(3)]
    page, press = show(
        browser, cards=cards, classes=[NASTY, "b"], counts=[[0, 2], [1, 0]], status=NASTY, filter=[0, 1]
    )
    assert (
        page.evaluate("window.hurt === undefined") and page.locator("#here img").count() == 3
    )  # the pictures and no other
    assert (
        page.locator(".status").text_content() == NASTY
        and page.locator(".given").first.text_content() == NASTY
    )
    first, second = ({"do": "decide", "image": c["image"], "label": ""} for c in cards[:2])
    assert press("a") == [first | {"action": "accept"}]
    assert press("ArrowRight", "k", cursor=1) == [second | {"action": "keep"}]
    assert press("1", cursor=1) == [second | {"action": "class", "label": "b"}]
    assert press("u", cursor=1) == [second | {"action": "unsure"}] and press("d", cursor=1) == [
        second | {"action": "drop"}
    ]
    assert (
        press("z") == [{"do": "undo"}]
        and press("PageDown") == [{"do": "page", "page": 1}]
        and press("Tab", "9", "ArrowLeft") == []
    )
    page.locator(".heat button").nth(1).click()
    press()
    page.locator("button", has_text="Show all").click()
    assert page.evaluate("window.sent.slice(-2)") == [
        {"do": "filter", "filter": [1, 0]},
        {"do": "filter", "filter": []},
    ]


@pytest.mark.browser
def test_kinds_are_buttons_that_ask_for_theirs(browser):
    page, press = show(
        browser,
        cards=[card("x", "a", "b", kind="dark"), card("y", "a", "b")],
        classes=["a", "b"],
        counts=[[0, 2], [0, 0]],
        kinds=[["dark", 1, "dark"], [NASTY, 2, NASTY]],
        kind="dark",
    )
    buttons = page.locator(".kinds button")
    assert buttons.all_text_contents() == ["all images", "dark (1)", f"{NASTY} (2)"]
    assert [b.get_attribute("aria-pressed") for b in buttons.all()] == ["false", "true", "false"]
    assert page.locator(".card .kind").all_text_contents() == ["dark"]
    buttons.nth(0).click()
    press()
    buttons.nth(2).click()
    assert page.evaluate("window.sent") == [{"do": "kind", "kind": ""}, {"do": "kind", "kind": NASTY}]
    assert page.evaluate("window.hurt === undefined")


@pytest.mark.browser
def test_what_is_pressed_before_the_answer_is_there_decides_nothing(browser):
    _, press = show(
        browser,
        cards=[card("one", "a", "b"), card("two", "a", "b")],
        classes=["a", "b"],
        counts=[[0, 2], [0, 0]],
    )
    assert [(m["image"], m["action"]) for m in press("a", "k", "z", cursor=1)] == [("one", "accept")]
    assert [(m["image"], m["action"]) for m in press("k")] == [("two", "keep")]


@pytest.mark.browser
def test_a_digit_is_the_class_of_that_name(browser):
    page, press = show(browser, cards=[card("x", "1", "3")], classes=["1", "2", "3"], counts=[[0] * 3] * 3)
    assert press("1")[0]["label"] == "1" and press("3")[0]["label"] == "3" and press("0") == []
    assert page.locator("option").all_text_contents() == ["another class", "1", "2", "3"]
    page, press = show(browser, cards=[card("x", "cat", "dog")], classes=["cat", "dog"], counts=[[0] * 2] * 2)
    assert press("1")[0]["label"] == "dog" and page.locator("option").all_text_contents() == [
        "another class",
        "0  cat",
        "1  dog",
    ]


@pytest.mark.browser
def test_in_the_menu_only_enter_decides_and_escape_leaves(browser):
    page, press = show(
        browser, cards=[card("x", "cat", "dog")], classes=["cat", "dog", "eel"], counts=[[0] * 3] * 3
    )
    assert press("c", "ArrowDown", "ArrowDown", "k", "Escape") == []
    assert press("c", "ArrowDown", "ArrowDown", "Enter") == [
        {"do": "decide", "image": "x", "action": "class", "label": "dog"}
    ]
    assert press("k")[0]["action"] == "keep"  # the keys are the wall's again
    page.locator("select").select_option("2  eel")
    assert page.evaluate("window.sent.at(-1).label") == "eel"  # by mouse at once


def test_the_file_of_decisions_is_a_plain_table(wall, findings):
    send(wall, "decide", image=wall.cards[0]["image"], action="accept")
    with open(findings.folder / "decisions.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert (
        row["action"] == "accept"
        and row["label"] == findings.table["suggested"][0]
        and row["when"].endswith("Z")
    )
