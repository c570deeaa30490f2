"""The clean subset: drawn without a look at the noise, protected from it, and refused where it makes no
sense.
"""

import numpy as np
import pytest
from conftest import SHORT_STAGES

import lnl_kit
from lnl_kit.data import clean_subset

TINY = {"epochs": 1, "progress": False}


def test_draw_takes_the_share_of_every_class_and_knows_no_noise(tmp_path):
    labels = np.repeat(np.arange(4), [10, 20, 30, 40])
    clean = clean_subset.draw(labels, 0.1, seed=0)
    assert np.bincount(labels[clean]).tolist() == [1, 2, 3, 4]
    assert (clean == clean_subset.draw(labels, 0.1, seed=0)).all() and (
        clean != clean_subset.draw(labels, 0.1, seed=1)
    ).any()
    runs = [
        lnl_kit.train("ce", out=tmp_path, clean_share=0.1, noise=n, rate=r, **TINY)
        for n, r in (("symmetric", 0.5), ("asymmetric", 0.9))
    ]
    assert (runs[0].labels["clean"] == runs[1].labels["clean"]).all() and runs[0].labels["clean"].sum() == 142


@pytest.mark.parametrize(
    "noise, rate, wrong",
    [
        ("symmetric", 0.5, 0.45),
        ("symmetric_exclusive", 0.6, 0.6),
        ("pair_flip", 0.3, 0.3),
        ("asymmetric", 0.9, 0.45),
        ("instance", 0.4, 0.4),
    ],
)
def test_noise_spares_the_clean_and_keeps_its_rate_over_all(tmp_path, noise, rate, wrong):
    run = lnl_kit.train("ce", out=tmp_path, clean_share=0.1, noise=noise, rate=rate, **TINY)
    given, true, clean = (run.labels[k] for k in ("given", "true", "clean"))
    assert (given[clean] == true[clean]).all()
    assert run.summary["actual_rate"] == pytest.approx(wrong, abs=0.02)
    if (noise, rate) == ("asymmetric", 0.9):  # r = 1 - pi: every other label of the five classes is wrong
        source = np.isin(true, np.unique(true[given != true]))
        assert (given != true)[source & ~clean].all()


def test_without_a_clean_subset_nothing_changes(tmp_path):
    plain, none = (lnl_kit.train("ce", out=tmp_path, **TINY, **more) for more in ({}, {"clean_share": 0.0}))
    assert (
        plain.folder == none.folder
        and not plain.labels["clean"].any()
        and "clean" not in (plain.folder / "labels.csv").read_text()
    )
    other = lnl_kit.train("ce", out=tmp_path, clean_share=0.1, **TINY)
    assert other.folder != plain.folder and other.summary["uses"] == []  # it was told nothing


def test_a_list_of_checked_images_corrects_labels(tmp_path):
    plain = lnl_kit.train("ce", out=tmp_path, rate=0.5, **TINY)
    true = plain.labels["true"]
    rows = [i for k in range(10) for i in np.flatnonzero(true == k)[:3]]
    (tmp_path / "checked.csv").write_text("index,label\n" + "".join(f"{i},{true[i]}\n" for i in rows))
    run = lnl_kit.train("ce", out=tmp_path, rate=0.5, clean_list=str(tmp_path / "checked.csv"), **TINY)
    assert np.flatnonzero(run.labels["clean"]).tolist() == sorted(rows)
    assert (run.labels["given"][rows] == true[rows]).all()


@pytest.mark.parametrize(
    "text, message",
    [
        ("index\n3\n99999\n", "names 1 image.s. that are not among the 1437 training images, first '99999'"),
        ("index,label\n3,eleven\n", "calls '3' a 'eleven', which is no class"),
        ("file\n3\n", "names no image"),
        ("", "names no image"),
    ],
)
def test_a_bad_list_is_refused_in_one_sentence(tmp_path, text, message):
    (tmp_path / "checked.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        lnl_kit.train("ce", out=tmp_path, clean_list=str(tmp_path / "checked.csv"), **TINY)


def test_impossible_shares_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no clean list"):
        lnl_kit.train("ce", out=tmp_path, clean_list=str(tmp_path / "nowhere.csv"), **TINY)
    for more, message in (
        ({"clean_share": 1.0}, "outside .0, 1."),
        ({"clean_share": 0.001}, "no image of class 0, 1, 2, 3, 4 and 5 more"),
        ({"clean_share": 0.1, "rate": 0.95}, "at most 0.9"),
        ({"clean_share": 0.1, "clean_list": "x.csv"}, "drop one"),
    ):
        with pytest.raises(ValueError, match=message):
            lnl_kit.train("ce", out=tmp_path, **more, **TINY)


def test_unknown_truth_asks_for_a_list(tmp_path):
    from PIL import Image

    rng = np.random.RandomState(0)
    for part, count in (("train", 6), ("test", 2)):
        for name, dark in (("a", 0), ("b", 150)):  # easy to tell apart
            (tmp_path / "own" / part / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.randint(dark, dark + 100, (16, 16, 3), dtype=np.uint8)).save(
                    tmp_path / "own" / part / name / f"{i}.png"
                )
    ask = dict(
        dataset=f"folder:{tmp_path / 'own'}", noise="none", image_size=16, out=tmp_path, batch_size=4, **TINY
    )
    with pytest.raises(ValueError, match="list images that you have checked with --clean-list"):
        lnl_kit.train("pu_distill", **ask)
    names = sorted(lnl_kit.train("ce", **ask).labels["path"])
    (tmp_path / "checked.csv").write_text(
        "path\n" + "\n".join(n for n in names if n.endswith(("0.png", "1.png"))) + "\n"
    )
    short = {k: v for k, v in SHORT_STAGES["pu_distill"].items() if k != "clean_share"}
    run = lnl_kit.train(
        "pu_distill", clean_list=str(tmp_path / "checked.csv"), **ask, **short | {"filter_epochs": 20}
    )
    assert run.labels["clean"].sum() == 4 and run.summary["uses"] == ["33% clean labels"]
