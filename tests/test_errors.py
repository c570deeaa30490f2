"""Finding label errors: estimates with a known answer, folders of every kind, files that come through
unharmed.
"""

import base64
import csv
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import lnl_kit
from lnl_kit import data
from lnl_kit.bench.label_errors import quality
from lnl_kit.cli import main
from lnl_kit.label_errors import ranking
from lnl_kit.label_errors.decisions import Decisions, apply
from lnl_kit.label_errors.estimates import estimate, temper, with_share
from lnl_kit.label_errors.findings import open_findings
from lnl_kit.notebook import explorers

NAMES = [
    "plain.png",
    "with, comma.png",
    '"quoted".png',
    "two\nlines.png",
    "re\rturn.png",
    "ñ-画.png",
    "<img src=x onerror=alert(1)>.png",
]


def photos(folder, classes=("cat", "dog"), each=12, names=(), size=16, seed=0):
    """A folder <class>/*.png: a bright square in another corner for each class."""
    rng = np.random.RandomState(seed)
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for n in range(each if isinstance(each, int) else each[k]):
            pixels = rng.randint(0, 80, (size, size, 3)).astype(np.uint8)
            pixels[(k % 2) * 8 : (k % 2) * 8 + 8, (k // 2) * 8 : (k // 2) * 8 + 8] += 150
            Image.fromarray(pixels).save(folder / name / (names[n] if n < len(names) else f"{n:03d}.png"))
    return folder


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """find_errors with few epochs, its data and runs in tmp_path."""
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "runs"))
    return lambda dataset, **ask: lnl_kit.find_errors(
        str(dataset), **{"epochs": 2, "progress": False, "views": 1} | ask
    )


def predictions(n, k, T, seed=0, sure=4.0):
    """Beliefs that are as often right as they say, labels by T, and the truth."""
    rng = np.random.RandomState(seed)
    probs = np.exp(sure * rng.randn(n, k))
    probs /= probs.sum(1, keepdims=True)
    true = (probs.cumsum(1) > rng.rand(n, 1)).argmax(1)
    return probs, np.array([rng.choice(k, p=T[t]) for t in true]), true


@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.5])
def test_the_number_of_errors_and_the_matrix_are_found_where_they_are_known(wrong):
    k = 5
    T = (1 - wrong) * np.eye(k) + wrong * np.roll(np.eye(k), 1, axis=1) * 0.8 + wrong * 0.2 / k
    T /= T.sum(1, keepdims=True)
    probs, given, true = predictions(4000, k, T)
    found = estimate(probs, given)
    share = (given != true).mean()
    matrix = np.array(ranking.numbers(found, given, found.suspicion, list("abcde"))["transition_matrix"])
    assert abs(found.suspicion.mean() - share) < 0.03 and np.abs(matrix - T).max() < 0.07
    assert found.interval[0] <= share * 4000 * 1.02 + 5 and share * 4000 * 0.98 - 5 <= found.interval[1]
    assert (
        np.allclose(found.posterior.sum(1), 1)
        and (found.suspicion >= 0).all()
        and (found.suspicion <= 1).all()
    )
    if wrong:
        assert (
            quality(given != true, found.suspicion)["auc"]
            > quality(given != true, 1 - probs[np.arange(4000), given])["auc"] - 0.002
        )


def test_suspicion_is_calibrated_where_the_model_holds():
    T = 0.7 * np.eye(4) + 0.1
    T /= T.sum(1, keepdims=True)
    probs, given, true = predictions(8000, 4, T, sure=3.0)
    s, wrong = estimate(probs, given).suspicion, given != true
    for low, high in ((0, 0.2), (0.2, 0.6), (0.6, 0.9), (0.9, 1.01)):
        part = (s >= low) & (s < high)
        assert part.sum() < 50 or abs(s[part].mean() - wrong[part].mean()) < 0.08


def test_odds_are_moved_to_a_share_and_a_temperature_of_one_changes_nothing():
    probs, given, _ = predictions(500, 3, np.eye(3))
    assert (
        np.allclose(temper(probs, 1.0), probs, atol=1e-5) and (temper(probs, 3.0).max(1) < probs.max(1)).all()
    )
    moved = with_share(probs, given, 0.3)
    assert abs(1 - moved[np.arange(500), given].mean() - 0.3) < 1e-6
    own = probs[np.arange(500), given]
    assert (np.argsort(own) == np.argsort(moved[np.arange(500), given])).all()  # the order stays


def test_quality_by_hand():
    found = quality(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1]))
    assert (
        found["auc"] == 0.75
        and found["precision_at_n"] == 0.5
        and found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    )
    assert (
        found["share_wrong"] == 0.5
        and found["estimated_share"] == pytest.approx(0.625)
        and found["called_share"] == 0.75
    )
    assert np.isnan(quality(np.zeros(3, bool), np.ones(3))["auc"])


def test_cleanlab_is_given_the_same_probabilities():
    pytest.importorskip("cleanlab")
    from lnl_kit.bench.label_errors import cleanlab_suspicions

    T = 0.7 * np.eye(4) + 0.1
    probs, given, true = predictions(2000, 4, T / T.sum(1, keepdims=True))
    found = cleanlab_suspicions(probs, given)
    own, (issues, called) = found["cleanlab self-confidence"][0], found["cleanlab find_label_issues"]
    assert np.allclose(own, 1 - probs[np.arange(2000), given]) and (issues >= 0.5).mean() >= called > 0.1
    assert quality(given != true, own)["auc"] > 0.9 and quality(given != true, issues)["auc"] > 0.9


def test_every_image_is_ranked_also_what_would_be_the_test_set(quick, tmp_path):
    folder = photos(tmp_path / "photos")
    table = quick(folder)
    assert len(table) == 24 and sorted(table["image"]) == sorted(
        f"{c}/{n:03d}.png" for c in ("cat", "dog") for n in range(12)
    )
    assert list(table["rank"]) == list(range(1, 25)) and table["suspicion"].is_monotonic_decreasing
    assert (table["given"] != table["suggested"]).all() and "true" not in table
    findings = open_findings(table.attrs["folder"])
    s = findings.summary
    assert s["estimated_errors"] == pytest.approx(table["suspicion"].sum(), abs=1e-3) and s[
        "estimated_share"
    ] == pytest.approx(s["estimated_errors"] / 24)
    assert np.allclose(np.array(s["transition_matrix"]).sum(1), 1) and s["images"] == 24
    other = open_findings(table.attrs["folder"])
    images = other.dataset()
    assert findings.changed() == {"changed": [], "removed": [], "new": []}
    assert other.dataset() is images  # looking for changes reads these findings again, not all that are open
    again = quick(folder)  # loaded, not trained again
    assert again.drop(columns="image").equals(table.drop(columns="image"))


def test_networks_learn_the_classes_and_find_swapped_labels(quick, tmp_path):
    folder = photos(tmp_path / "photos", each=40)
    for n in range(4):
        (folder / "cat" / f"{n:03d}.png").rename(folder / "dog" / f"swapped{n}.png")
    table = quick(folder, epochs=25)
    assert set(table["image"][:4]) == {f"dog/swapped{n}.png" for n in range(4)} and set(
        table["suggested"][:4]
    ) == {"cat"}
    assert (table["suspicion"][:4] > 0.5).all() and (table["suspicion"][4:] < 0.5).all()
    assert abs(open_findings(table.attrs["folder"]).summary["estimated_errors"] - 4) < 3
    assert re.search(r"networks that never saw this label: cat \d+%, the label \d+%", table["because"][0])


def test_names_of_every_kind_come_through_files_page_and_labels(quick, tmp_path):
    classes = ('<b>bold & "co"', " naïve, 犬 ")
    folder = photos(tmp_path / "photos", classes, names=NAMES)
    table = quick(folder)
    findings = open_findings(table.attrs["folder"])
    assert (
        set(findings.table["image"])
        == set(table["image"])
        == {f"{c}/{n}" for c in classes for n in [*NAMES, *(f"{k:03d}.png" for k in range(7, 12))]}
    )
    assert list(findings.table["given"]) == list(table["given"]) and set(table["given"]) == set(classes)
    page = (findings.folder / "report.html").read_text()
    assert (
        "<b>bold" not in page
        and "onerror=alert(1)>" not in page
        and "&lt;b&gt;bold &amp;" in page
        and "犬" in page
    )
    assert not re.search(r"(?:src|href)=.https?:", re.sub(r"(?s)<script.*?</script>", "", page)), (
        "the page loads nothing from the network"
    )
    made = Decisions(findings.folder / "decisions.csv")
    for image in list(table["image"])[:5]:
        made.add(image, "class", classes[1])
    made.add(table["image"][5], "drop")
    apply(made.path, tmp_path / "labels.csv")
    found = data.load(f"folder:{folder}", labels=tmp_path / "labels.csv", split=False)
    given = {p: found.classes[k] for p, k in zip(found.paths, found.given_labels.tolist())}
    assert (
        len(given) == 23
        and table["image"][5] not in given
        and all(given[i] == classes[1] for i in table["image"][:5])
    )
    assert all(given[i] == g for i, g in zip(table["image"][6:], table["given"][6:]))


def test_every_image_is_decoded_once_whatever_is_asked_of_a_folder(quick, tmp_path, monkeypatch):
    """Searched whole, opened again for the review, and split for training: from one cache, at the size of the
    training.
    """
    from lnl_kit.data import decode

    folder, decoded = photos(tmp_path / "photos", size=48), []
    original = decode.decode_files
    monkeypatch.setattr(
        decode, "decode_files", lambda paths, *rest: decoded.extend(paths) or original(paths, *rest)
    )
    table = quick(folder)
    findings = open_findings(table.attrs["folder"])
    assert findings.dataset().x.shape == (24, 3, 32, 32) and not any(findings.changed().values())
    train_and_test = data.load(f"folder:{folder}", image_size=32)
    assert (
        len(train_and_test.x) == 19
        and len(train_and_test.test_x) == 5
        and set(train_and_test.paths) <= set(table["path"])
    )
    assert sorted(decoded) == sorted(folder.rglob("*.png"))


def test_an_unreadable_image_is_reported_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    folder = photos(tmp_path / "photos")
    for image in folder.rglob("00*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(ValueError, match="unreadable images: 20;"):
        data.load(f"folder:{folder}", split=False)


def test_a_read_only_folder_works_and_is_left_as_it_was(quick, tmp_path):
    folder = photos(tmp_path / "photos")
    before = sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*"))
    for place in (folder, folder / "cat", folder / "dog"):
        place.chmod(0o555)
    assert len(quick(folder)) == 24
    assert before == sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*"))
    for place in (folder, folder / "cat", folder / "dog"):
        place.chmod(0o755)


def test_names_that_are_not_utf8_are_refused_in_one_sentence(quick, tmp_path):
    folder = photos(tmp_path / "photos")
    os.rename(folder / "cat" / "000.png", os.fsencode(folder) + b"/cat/caf\xe9.png")
    with pytest.raises(
        ValueError,
        match=r"1 file names in .* are not UTF-8, such as 'cat/caf\\udce9.png': rename these files",
    ):
        quick(folder)


def test_a_second_round_keeps_every_image_and_what_was_dropped(quick, tmp_path):
    """On the corrected labels of the first, also where only a part of the images was searched."""
    folder = photos(tmp_path / "photos")
    first = quick(folder, train_size=12)
    image, kept = first["image"][:2]
    made = Decisions(open_findings(first.attrs["folder"]).folder / "decisions.csv")
    made.add(image, "drop")
    made.add(kept, "class", "dog")
    apply(made.path, tmp_path / "one.csv")
    second = quick(folder, labels=tmp_path / "one.csv")
    assert len(second) == 23 and image not in set(second["image"])
    made = Decisions(open_findings(second.attrs["folder"]).folder / "decisions.csv")
    made.add("dog/007.png", "class", "cat")
    apply(made.path, tmp_path / "two.csv")
    found = data.load(f"folder:{folder}", labels=tmp_path / "two.csv", split=False)  # complains of nothing
    given = {p: found.classes[k] for p, k in zip(found.paths, found.given_labels.tolist())}
    assert given == {
        p: "cat" if p == "dog/007.png" else "dog" if p == kept else p[:3]
        for p in map(str, (f.relative_to(folder) for f in folder.rglob("*.png")))
        if p != image
    }


def test_a_second_round_on_a_built_in_set_counts_as_label_files_do(quick, tmp_path):
    true = data.load("digits").true_labels.tolist()
    with open(tmp_path / "labels.csv", "w") as file:
        file.write(
            "index,given,dropped\n" + "".join(f"{i},{k},{int(i in (0, 5))}\n" for i, k in enumerate(true))
        )
    table = quick("digits", labels=tmp_path / "labels.csv", epochs=1, report=False)
    assert len(table) == len(true) - 2 and sorted(table["index"]) == [
        i for i in range(len(true)) if i not in (0, 5)
    ]
    findings = open_findings(table.attrs["folder"])
    assert (findings.pixels("7") == data.load("digits").x[7].numpy()).all() and findings.pixels("5") is None
    Decisions(findings.folder / "decisions.csv").add("7", "keep")
    apply(findings.folder / "decisions.csv", tmp_path / "two.csv")
    again = data.load("digits", labels=tmp_path / "two.csv")
    assert again.given_labels.tolist() == [
        k for i, k in enumerate(true) if i not in (0, 5)
    ] and again.left_out == ("0", "5")


def test_labels_are_made_wrong_only_when_asked(quick, tmp_path):
    table = quick("digits", epochs=1, train_size=60, report=False)
    assert (table["given"] == table["true"]).all()
    assert open_findings(table.attrs["folder"]).summary["noise"] == "none"


def test_a_folder_with_the_review_of_other_images_is_refused(quick, tmp_path):
    one, other = photos(tmp_path / "one"), photos(tmp_path / "other", seed=1)
    quick(one, to=tmp_path / "found", report=False)
    quick(other, to=tmp_path / "found", report=False)  # nothing was decided yet
    Decisions(tmp_path / "found" / "decisions.csv").add("cat/000.png", "keep")
    with pytest.raises(
        ValueError, match=r"holds the review of folder:.*other: choose another folder for folder:.*one"
    ):
        quick(one, to=tmp_path / "found", report=False)


def test_a_picture_of_16_bits_is_seen_as_the_network_saw_it(quick, tmp_path):
    from lnl_kit.label_errors.pictures import picture

    folder = photos(tmp_path / "photos", size=96)
    Image.fromarray(np.full((96, 96), 30_000, np.uint16)).save(folder / "cat" / "000.png")
    findings = open_findings(quick(folder, report=False).attrs["folder"])
    row = findings.table[findings.table["image"] == "cat/000.png"].iloc[0]
    shown = Image.open(io.BytesIO(base64.b64decode(picture(findings, row).partition(",")[2])))
    assert abs(np.asarray(shown).mean() - findings.pixels("cat/000.png").mean()) < 3


def test_what_became_of_an_image_does_not_depend_on_other_images(quick, tmp_path, monkeypatch):
    """In a folder of grey images a first one in colour changes how all are kept, but none of them."""
    folder = photos(tmp_path / "photos")
    for image in folder.rglob("*.png"):
        Image.open(image).convert("L").save(image)
    findings = open_findings(quick(folder, report=False).attrs["folder"])
    assert findings.dataset().x.shape[1] == 1
    Image.fromarray(np.full((16, 16, 3), (200, 0, 0), np.uint8)).save(folder / "cat" / "colour.png")
    (folder / "dog" / "000.png").unlink()
    assert findings.changed() == {
        "changed": [],
        "removed": ["dog/000.png"],
        "new": ["cat/colour.png"],
    }  # though it was opened before
    assert findings.pixels("dog/000.png") is None and findings.pixels("cat/000.png").shape[0] == 3
    monkeypatch.setattr(explorers, "live", lambda: False)
    assert len(explorers.review(findings).layout.images) == 12


def test_a_folder_that_changed_is_noticed(quick, tmp_path, monkeypatch):
    folder = photos(tmp_path / "photos")
    place = quick(folder).attrs["folder"]
    (folder / "cat" / "000.png").unlink()
    shutil.copy(folder / "dog" / "001.png", folder / "dog" / "new.png")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "dog" / "002.png")
    findings = open_findings(place)
    assert findings.changed() == {
        "changed": ["dog/002.png"],
        "removed": ["cat/000.png"],
        "new": ["dog/new.png"],
    }
    monkeypatch.setenv("JPY_SESSION_NAME", "x")
    monkeypatch.delenv("LNL_HEADLESS", raising=False)
    from lnl_kit.label_errors.review import Review

    review = Review(findings)
    assert "The images are not those that were searched (1 changed, 1 removed, 1 new)" in review.status
    assert not {"cat/000.png", "dog/002.png"} & {card["image"] for card in review.cards}


def test_the_same_picture_under_two_labels_is_an_error_for_certain(quick, tmp_path):
    folder = photos(tmp_path / "photos")
    shutil.copy(folder / "cat" / "003.png", folder / "dog" / "copy.png")
    shutil.copy(folder / "cat" / "004.png", folder / "cat" / "copy.png")  # the same label: no conflict
    table = quick(folder)
    groups = open_findings(table.attrs["folder"]).summary["conflicting_duplicates"]
    assert [sorted(map(tuple, g)) for g in groups] == [[("cat/003.png", "cat"), ("dog/copy.png", "dog")]]
    both = table[table["image"].isin(["cat/003.png", "dog/copy.png"])]
    assert (both["suspicion"] >= 0.5).all() and both["because"].str.startswith(
        "the same picture is also labelled"
    ).all()


def test_of_one_picture_the_rare_label_is_the_suspicious_one():
    given = np.array([0] * 9 + [1] + [0, 1])
    digests = np.array(["a"] * 10 + ["b"] * 2)
    groups = ranking.conflicting(digests, given)
    assert [g.tolist() for g in groups] == [list(range(10)), [10, 11]]
    assert ranking.at_least(groups, given, 12).tolist() == pytest.approx([0.1] * 9 + [0.9] + [0.5] * 2)
    assert [
        g.tolist() for g in ranking.conflicting(digests, given, lambda i: "same" if i > 9 else str(i))
    ] == [[10, 11]]


def test_pictures_that_only_look_the_same_where_they_are_cut_are_not_the_same(quick, tmp_path):
    folder = photos(tmp_path / "photos")
    wide = np.random.RandomState(0).randint(0, 255, (32, 96, 3)).astype(np.uint8)
    for name, left in (("cat", 0), ("dog", 255)):
        wide[:, :20] = left
        Image.fromarray(wide).save(folder / name / "wide.png")
    assert open_findings(quick(folder, report=False).attrs["folder"]).summary["conflicting_duplicates"] == []


def test_small_and_uneven_folders_work_or_are_refused_in_one_sentence(quick, tmp_path):
    assert len(quick(photos(tmp_path / "uneven", ("a", "b", "c"), each=(60, 3, 5)))) == 68
    with pytest.raises(
        ValueError, match=r"1 of 2 classes have fewer than 3 images, too few to judge their labels: b \(2\)"
    ):
        quick(photos(tmp_path / "tiny", ("a", "b"), each=(20, 2)))
    with pytest.raises(FileNotFoundError, match="no folder"):
        quick(tmp_path / "nothing")
    with pytest.raises(ValueError, match="method 'magic' does not exist: cross_validation, "):
        quick(tmp_path / "uneven", method="magic")
    with pytest.raises(ValueError, match="score 'luck' does not exist: recipe, probability"):
        quick(tmp_path / "uneven", score="luck")
    with pytest.raises(ValueError, match="mixup has no clean_score for all of these images"):
        lnl_kit.find_errors(str(tmp_path / "uneven"), "mixup", epochs=1, progress=False, score="clean_score")


def test_methods_of_the_kit_stand_beside_or_in_place_of_it_and_each_score_ranks(quick, tmp_path):
    folder = photos(tmp_path / "photos")
    table = lnl_kit.find_errors(str(folder), "nrd,ce", epochs=2, progress=False, report=False)
    assert (
        {"suspicion_nrd", "suspicion_ce"} <= set(table)
        and "nrd: " in table["because"][0]
        and "; ce: " in table["because"][0]
    )
    orders = {
        score: tuple(quick(folder, score=score, report=False)["image"])
        for score in ("recipe", "probability", "trajectory", "vicinal", "clean_score")
    }
    assert orders["probability"] == orders["clean_score"]  # of cross-validation they are the same
    assert len(set(orders.values())) == 4


def test_from_the_command_line_and_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "runs"))
    folder = photos(tmp_path / "photos")
    assert main(["find-errors", str(folder), "--epochs", "2", "--out", str(tmp_path / "found")]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "found") and re.search(
        r"about \d+ of 24 labels are probably wrong", said.err
    )
    assert sorted(p.name for p in (tmp_path / "found").iterdir() if p.name != ".lock") == [
        "errors.csv",
        "labels_before.csv",
        "report.html",
        "summary.json",
    ]
    json.loads((tmp_path / "found" / "summary.json").read_text())
    with open(tmp_path / "found" / "errors.csv", newline="") as file:
        image = next(csv.DictReader(file))["path"]
    Decisions(tmp_path / "found" / "decisions.csv").add(image, "class", "dog")
    assert (
        main(["apply", str(tmp_path / "found" / "decisions.csv"), "--out", str(tmp_path / "labels.csv")]) == 0
    )
    assert "1 changed" in (err := capsys.readouterr().err) or "1 kept" in err
    assert (
        main(
            [
                "train",
                "ce",
                "--dataset",
                f"folder:{folder}",
                "--labels",
                str(tmp_path / "labels.csv"),
                "--epochs",
                "1",
            ]
        )
        == 0
    )
    assert (
        main(["apply", str(tmp_path / "no.csv"), "--out", "x.csv"]) == 2
        and "no file" in capsys.readouterr().err
    )
    assert main(["find-errors", str(tmp_path / "no"), "--epochs", "1"]) == 2


def test_folds_hold_every_class_out_evenly():
    import torch

    from lnl_kit.label_errors.cross_validation import folds_of

    y = torch.tensor([0] * 31 + [1] * 3 + [2] * 10)
    fold = folds_of(y, 3, seed=0)
    for k in range(3):
        assert torch.bincount(fold[y == k], minlength=3).diff().abs().max() <= 1
    assert torch.bincount(fold).max() - torch.bincount(fold).min() <= 1 and not torch.equal(
        fold, folds_of(y, 3, seed=1)
    )


def test_held_out_answers_are_of_networks_that_have_not_seen_the_label(tmp_path):
    """Where labels are wrong, those that were trained on them believe them more."""
    from lnl_kit.label_errors.cross_validation import CrossValidation, cross_validation

    run = lnl_kit.train(
        cross_validation,
        "digits",
        "symmetric",
        0.5,
        settings_class=CrossValidation,
        epochs=6,
        out=tmp_path,
        train_size=300,
        progress=False,
    )
    probs, fitted = (run.arrays[name] for name in ("train_probs", "fitted_probs"))
    given, rows = run.labels["given"], np.arange(300)
    assert (
        probs.shape == fitted.shape == (300, 10)
        and np.allclose(probs.sum(1), 1, atol=1e-4)
        and np.allclose(fitted.sum(1), 1, atol=1e-4)
    )
    wrong = run.labels["true"] != given
    assert fitted[rows, given][wrong].mean() > probs[rows, given][wrong].mean()


def test_the_environment_is_not_touched(quick, tmp_path):
    before = dict(os.environ)
    quick(photos(tmp_path / "photos"), report=False)
    assert dict(os.environ) == before


def test_an_interrupted_search_goes_on_to_the_same_findings(quick, tmp_path):
    folder, rows = photos(tmp_path / "photos"), []

    def stop(so_far):
        rows[:] = so_far
        if len(so_far) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(folder, epochs=4, on_epoch=stop, out=tmp_path / "one")
    assert len(rows) == 2 and not list((tmp_path / "one").rglob("errors.csv"))
    resumed = quick(folder, epochs=4, out=tmp_path / "one")
    whole = quick(folder, epochs=4, out=tmp_path / "other")
    assert resumed.equals(whole)
