"""Decisions that a spreadsheet saved are read as what they say."""

import pytest

from lnl_kit.label_errors.decision_file import BEFORE, OTHER_IMAGE, Seen
from lnl_kit.label_errors.decisions import COLUMNS, Decisions
from lnl_kit.label_errors.spreadsheet import as_iso, plain

GOOD = "image,action,label,when\n"
GOOD += "cat/0.png,class,dog,2024-01-31T00:00:05Z\ncat/1.png,drop,,2024-01-31T10:00:00Z\n"


@pytest.mark.parametrize(
    "saved",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("2024-01-31T", "31.01.2024 ").replace("Z", ""),
        GOOD.replace("2024-01-31T", "1/31/2024 ").replace("Z", ""),
        "\ufeff" + GOOD.replace("\n", ",,\n").replace("\n", "\r\n") + ",,,,,\r\n",
        GOOD.replace("cat/1.png,drop,,", '"cat/1.png","drop","",'),
    ],
)
def test_decisions_of_a_spreadsheet(saved, tmp_path):
    file = tmp_path / "decisions.csv"
    file.write_text(saved, encoding="utf-8", newline="")
    decisions = Decisions(file)
    assert decisions.made == {"cat/0.png": ("class", "dog"), "cat/1.png": ("drop", "")}
    decisions.add("cat/2.png", "keep")
    assert list(Decisions(file).made) == ["cat/0.png", "cat/1.png", "cat/2.png"]
    assert file.read_text(encoding="utf-8").startswith(",".join(COLUMNS) + "\n")


def test_what_is_no_file_of_decisions_is_left_alone(tmp_path):
    for text in ("a;b\n1;2\n", GOOD[:-8], "", 'image,action,label,when\n"cat'):
        assert plain(text, (COLUMNS, BEFORE)) == text
    assert as_iso("yesterday") == "yesterday" and as_iso("2024-01-31T00:00:05Z") == "2024-01-31T00:00:05Z"
    file = tmp_path / "decisions.csv"
    file.write_text(GOOD.replace("drop", "delete"))
    with pytest.raises(ValueError, match="a row that is no decision"):
        Decisions(file)


NOW = "image,action,label,when,given,digest\n"
NOW += "cat/0.png,class,dog,2024-01-31T00:00:05Z,cat,00112233445566aa\n"
NOW += "'=x.png,drop,,2024-01-31T10:00:00Z,cat,1122334455667788\n"


@pytest.mark.parametrize("change", [str, lambda t: "\ufeff" + t.replace(",", ";").replace("\n", "\r\n")])
def test_label_and_digest_of_a_spreadsheet_count_but_a_digest_made_a_number_does_not(change, tmp_path):
    file = tmp_path / "decisions.csv"
    saved = change(
        NOW.replace("2024-01-31T10:00:00Z", "31.01.2024 10:00").replace("1122334455667788", "1.12E+15")
    )
    file.write_text(saved, encoding="utf-8", newline="")
    seen = {"cat/0.png": Seen("cat", "other"), "=x.png": Seen("cat", "1122334455667788")}
    decisions = Decisions(file, seen)
    assert decisions.made == {"=x.png": ("drop", "")} and decisions.left_out == {OTHER_IMAGE: ["cat/0.png"]}
    decisions.add("cat/2.png", "keep")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == NOW.splitlines()[:2] and lines[2] == "'=x.png,drop,,2024-01-31T10:00:00Z,cat,"
