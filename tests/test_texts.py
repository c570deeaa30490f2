"""The texts of widgets and reports: one place, a file a language, and German all the way through."""

import json
import re
import string
from pathlib import Path

import numpy as np
import pytest

import lnl_kit
from lnl_kit import texts
from lnl_kit.label_errors.faults import KINDS
from lnl_kit.label_errors.find import find_errors
from lnl_kit.label_errors.findings import open_findings
from lnl_kit.label_errors.pictures import picture
from lnl_kit.label_errors.report import report_bytes
from lnl_kit.label_errors.review import Review

PACKAGE = Path(lnl_kit.__file__).parent
ENGLISH = json.loads((texts.FOLDER / "en.json").read_text("utf-8"))


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", texts.languages())
def test_a_language_has_every_text_with_the_same_values(language):
    own = json.loads((texts.FOLDER / f"{language}.json").read_text("utf-8"))
    assert set(own) == set(ENGLISH)
    assert {k: fields(t) for k, t in own.items()} == {k: fields(t) for k, t in ENGLISH.items()}
    if language != "en":
        same = {k for k, t in own.items() if t == ENGLISH[k]}
        assert len(same) < 5, f"not translated: {same}"


def test_what_is_asked_for_exists_and_what_exists_is_asked_for():
    code = "".join(p.read_text("utf-8") for p in PACKAGE.rglob("*.py"))
    script = (PACKAGE / "label_errors" / "review.js").read_text("utf-8")
    asked = {f"review.{name}" for name in re.findall(r'say\("(\w+)"', script)}
    assert asked <= set(ENGLISH) and len(asked) > 20
    pressed = {f"review.{action}" for action in ("accept", "keep", "drop", "unsure")}
    for key in set(ENGLISH) - asked - pressed:
        name = key.partition(".")[2]
        assert name in code or ("histogram_" in name and name.partition("_")[2] in code), key
    assert {k.removeprefix("kind.") for k in ENGLISH if k.startswith("kind.")} == set(KINDS)


def test_the_language_is_asked_for_or_stands_in_the_environment(monkeypatch):
    monkeypatch.delenv(texts.VARIABLE, raising=False)
    assert texts.of().language == "en" and texts.of("de").language == "de"
    monkeypatch.setenv(texts.VARIABLE, "de_DE.UTF-8")
    assert texts.of().language == "de" and texts.of("en").language == "en"
    monkeypatch.setenv(texts.VARIABLE, "xx")
    with pytest.raises(ValueError, match=r"LNL_LANGUAGE is 'xx', and there are de, en"):
        texts.of()
    with pytest.raises(ValueError, match=r"the language is '\.\./en', and there are"):
        texts.of("../en")


def test_a_text_that_a_translation_lacks_is_english(tmp_path, monkeypatch):
    (tmp_path / "en.json").write_text('{"a.x": "one {n}", "a.y": "two"}')
    (tmp_path / "fr.json").write_text('{"a.x": "un {n}"}')
    monkeypatch.setattr(texts, "FOLDER", tmp_path)
    say = texts.Texts("fr")
    assert say("a.x", n=1) == "un 1" and say("a.y") == "two" and say.part("a") == {"x": "un {n}", "y": "two"}
    assert say("a.x", n="{evil}") == "un {evil}"  # a value is no text


def test_reasons_are_translated_part_by_part_and_what_is_unknown_stays():
    say = texts.of("de")
    told = "efficientnet_lite0: dog 90%, the label 2%; looks like a/1.png, labelled dog; odd"
    assert say.reason(told) == (
        "efficientnet_lite0: dog 90%, das Label 2%; sieht aus wie a/1.png, beschriftet als dog; odd"
    )
    assert texts.of("en").reason(told) == told and say.reason("") == "" and say.kinds("") == ""
    assert say.kinds("near duplicate; dark; new kind") == "fast gleich; dunkel; new kind"
    assert say.reason("the same picture is also labelled cat, dog").endswith("beschriftet als cat, dog")


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Findings on probabilities of one's own, which take no training."""
    place = tmp_path_factory.mktemp("found")
    probs = np.random.RandomState(0).dirichlet(np.full(10, 0.3), len(lnl_kit.data.load("digits").names))
    ask = dict(noise="symmetric", rate=0.2, to=place, out=place / "runs", report=False)
    find_errors("digits", probs=probs, **ask)
    return open_findings(place)


def words_of(page):
    seen = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]*>", " ", page, flags=re.S)
    return set(re.findall(r"[A-Za-zÄÖÜäöüß]{4,}", seen))


def test_the_report_and_the_review_are_german_when_asked(findings, monkeypatch):
    english, german = (report_bytes(findings, picture, la).decode() for la in ("en", "de"))
    assert "<html lang='de'>" in german and "Verdächtige Labels in digits" in german
    shared = words_of(english) & words_of(german)
    # what the search itself wrote, and words that both languages have
    allowed = words_of(" ".join(str(findings.summary[k]) for k in ("recipe", "device", "taken")))
    allowed |= {"digits", "symmetric", "Label", "Labels", "middot"}
    assert shared <= allowed, shared - allowed
    assert "Am häufigsten verwechselt" in german and "Most often confused" in english
    wall = Review(findings, language="de")
    assert wall.status.startswith("0 entschieden, 0 umbenannt; etwa ") and wall.words["undo"] == "Zurück"
    wall._receive(wall, {"do": "decide", "image": wall.cards[0]["image"], "action": "drop"}, None)
    assert wall.cards[0]["decision"] == "verworfen" and "das Label" in wall.cards[0]["because"]
    wall._receive(wall, {"do": "undo"}, None)
    monkeypatch.setenv(texts.VARIABLE, "de")
    assert Review(findings).words == wall.words
    assert report_bytes(findings, picture).decode().count("vergeben ") > 50
