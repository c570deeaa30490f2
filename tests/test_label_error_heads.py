"""Label errors by heads on frozen features, by neighbours, and by probabilities of one's own."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lnl_kit
from lnl_kit import data
from lnl_kit.bench.label_errors import quality
from lnl_kit.cli import main
from lnl_kit.data import copies
from lnl_kit.data.labelling import draw_labels
from lnl_kit.features import heads as linear
from lnl_kit.label_errors import evidence, faults, heads, inspection
from lnl_kit.label_errors.by_probs import rank_labels
from lnl_kit.label_errors.estimates import with_odds, wrong_share
from lnl_kit.label_errors.findings import open_findings


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Caches and runs in tmp_path."""
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "runs"))
    return tmp_path


def labelled(n, k, rate, seed=0, width=20, apart=3.0):
    """(features (n, width), given, true): Gaussian classes, labels wrong by symmetric noise."""
    rng = np.random.RandomState(seed)
    true = rng.randint(0, k, n)
    given = np.where(rng.rand(n) < rate, (true + rng.randint(1, k, n)) % k, true)
    return apart * rng.randn(k, width)[true] / np.sqrt(width) + rng.randn(n, width), given, true


def test_later_rounds_rank_better_than_the_heads_alone():
    """Mean of three draws: the control is the first round, and it the probability of the label alone."""
    first, last, alone = [], [], []
    for seed in range(3):
        x, given, true = labelled(600, 4, 0.3, seed)
        z, wrong = linear.principal(x), given != true
        first.append(quality(wrong, heads.judge(z, given, 4, seed, rounds=1).odds)["auc"])
        judged = heads.judge(z, given, 4, seed)
        last.append(quality(wrong, judged.odds)["auc"])
        alone.append(quality(wrong, -judged.held_out[np.arange(600), given])["auc"])
    assert np.mean(last) > np.mean(first) > np.mean(alone) and np.mean(last) > 0.9


def test_suspicion_is_a_probability_whose_sum_is_the_estimate():
    x, given, true = labelled(1500, 4, 0.2, apart=6.0)
    judged = heads.judge(linear.principal(x), given, 4)
    found = with_odds(judged.counted, judged.posterior, judged.odds, given)
    low, high = found.interval
    assert (
        abs(found.suspicion.mean() - (given != true).mean()) < 0.05 and low <= (given != true).sum() <= high
    )
    assert np.allclose(found.posterior.sum(1), 1) and np.allclose(
        found.posterior[np.arange(1500), given], 1 - found.suspicion
    )
    order = np.argsort(judged.odds)
    assert (np.diff(found.suspicion[order]) >= 0).all()
    called = found.suspicion > 0.5
    assert (given != true)[called].mean() > 0.8 > 0.2 > (given != true)[~called].mean()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_share_of_wrong_labels_of_predictions_that_are_right_and_calibrated(rate):
    rng = np.random.RandomState(1)
    true = rng.randint(0, 5, 4000)
    logits = 6 * np.eye(5)[true] + rng.randn(4000, 5)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = np.where(rng.rand(4000) < rate, (true + rng.randint(1, 5, 4000)) % 5, true)
    share, (low, high) = wrong_share(probs, given)
    assert abs(share - (given != true).mean()) < 0.04 and low <= (given != true).mean() <= high


def test_digits_are_judged_by_their_pixels_which_say_more_than_imagenet(places):
    table = lnl_kit.find_errors(
        "digits", noise="symmetric", rate=0.2, train_size=600, progress=False, report=False
    )
    summary = open_findings(table.attrs["folder"]).summary
    assert (
        summary["eye"] == "pixels"
        and summary["likelihood_of_labels"]["pixels"] > summary["likelihood_of_labels"]["efficientnet_lite0"]
    )
    found = quality((table["true"] != table["given"]).to_numpy(), table["suspicion"].to_numpy())
    assert found["auc"] > 0.98 and abs(found["estimated_share"] - found["share_wrong"]) < 0.06


def folder_of(places, counts, seed=0):
    """A folder of coloured squares with noise, a class a colour; returns it."""
    rng, colours = (
        np.random.RandomState(seed),
        {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0), "grey": (90, 90, 90)},
    )
    for name, count in counts.items():
        (places / "photos" / name).mkdir(parents=True)
        for n in range(count):
            pixels = np.clip(np.array(colours[name]) + 40 * rng.randn(32, 32, 3), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(places / "photos" / name / f"{n:02d}.png")
    return places / "photos"


def test_a_folder_with_a_class_of_one_image_is_judged_by_neighbours(places):
    folder = folder_of(places, {"red": 15, "green": 15, "grey": 1})
    (folder / "red" / "00.png").rename(folder / "green" / "moved.png")
    table = lnl_kit.find_errors(folder, progress=False)
    assert table["path"][0] == "green/moved.png" and table["suggested"][0] == "red"
    alone = table[table["given"] == "grey"].iloc[0]
    assert (
        "too few images of grey for heads; images that look like it are" in alone["because"]
        and 0 <= alone["suspicion"] <= 1
    )
    assert "sampling alone" not in (open_findings(table.attrs["folder"]).folder / "report.html").read_text()


def test_few_images_are_suspicious_only_where_neighbours_find_them_ordinary():
    rng = np.random.RandomState(0)
    own = rng.randn(40, 8) * 0.3 + np.repeat(np.eye(8)[:2] * 5, 20, 0)
    inside, apart = np.eye(8)[0] * 5, -np.eye(8)[5] * 5
    given = np.r_[np.repeat([0, 1], 20), 2, 3]
    found = heads.few_images(torch.tensor(np.r_[own, [inside, apart]]).float(), given, np.bincount(given))
    assert set(found) == {40, 41} and found[40][0] > 0.9 and found[40][1] == 0 and found[41][0] < 0.1


def test_near_duplicates_and_other_faults(places):
    folder = folder_of(places, {"red": 60, "blue": 60})
    rng = np.random.RandomState(1)
    scene = np.kron(rng.randint(0, 256, (8, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    Image.fromarray(scene).save(folder / "red" / "scene.png")
    Image.fromarray(np.clip(scene.astype(int) + 3, 0, 255).astype(np.uint8)).save(
        folder / "blue" / "scene.png"
    )
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "blue" / "dark.png")
    Image.fromarray(scene[:, :8].repeat(3, 0)).save(folder / "red" / "long.png")
    table = lnl_kit.find_errors(folder, image_size=64, progress=False).set_index("path")
    scenes = ["red/scene.png", "blue/scene.png"]
    assert all("near duplicate, other label" in table["kind"][path] for path in scenes)
    assert table["suspicion"][scenes].sum() >= 1  # at least one of the two is wrong
    assert "looks like blue/scene.png, labelled blue" in table["because"]["red/scene.png"]
    assert "dark" in table["kind"]["blue/dark.png"] and "odd size" in table["kind"]["red/long.png"]
    plain = table[[not any(word in path for word in ("scene", "dark", "long")) for path in table.index]]
    assert (plain["kind"] == "").mean() > 0.9  # the others are as they should be
    findings = open_findings(table.attrs["folder"])
    assert ["blue/scene.png", "red/scene.png"] in [sorted(group) for group in findings.summary["alike"]]
    assert findings.summary["kinds"]["near duplicate, other label"] == 2
    report = (findings.folder / "report.html").read_text()
    assert "and what else is wrong with images" in report and ">near duplicate, other label (2)<" in report
    assert "looks like blue/scene.png, labelled blue</div>" in report


def test_near_duplicates_under_two_labels_are_of_one_class():
    """One of two labels is wrong: nobody knows which, but where one is suspected already, not the other. The
    control is a pair of one label.
    """

    def after(suspicion, given, pairs):
        found = inspection.Inspection([], pairs, [], [[] for _ in given])
        return inspection.raised(np.array(suspicion), found, np.array(given)).round(3).tolist()

    assert after([0.05, 0.05, 0.05, 0.05], [0, 1, 1, 1], [(0, 1), (2, 3)]) == [0.513, 0.513, 0.05, 0.05]
    assert after([0.01, 0.98], [0, 1], [(0, 1)]) == [0.01, 1.0]
    alone, together, _ = after([0.05] * 3, [0, 1, 1], [(0, 1), (0, 2), (1, 2)])
    assert alone > 0.9 and together < 0.1  # two speak against one
    found = inspection.Inspection([], [(0, 1), (1, 2)], [(5, 4)], [[] for _ in range(6)])
    assert found.alike() == [[0, 1, 2], [4, 5]]


def test_near_copies_across_splits_are_found_by_features_where_pixels_differ(places):
    folder = folder_of(places, {"red": 20, "blue": 20})
    for name in ("red", "blue"):
        (folder / "train").mkdir(exist_ok=True)
        (folder / name).rename(folder / "train" / name)
        (folder / "test" / name).mkdir(parents=True)
        for n in range(3):
            (folder / "train" / name / f"{n:02d}.png").rename(folder / "test" / name / f"{n:02d}.png")
    scene = np.kron(np.random.RandomState(1).randint(20, 200, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    Image.fromarray(scene).save(folder / "train" / "red" / "scene.png")
    Image.fromarray(scene + 12).save(folder / "test" / "blue" / "brighter.png")
    table = lnl_kit.find_errors(folder, image_size=64, progress=False).set_index("path")
    summary = open_findings(table.attrs["folder"]).summary
    assert ["test/blue/brighter.png", "train/red/scene.png"] in summary["leaks"]
    for path in ("test/blue/brighter.png", "train/red/scene.png"):
        assert {"copy across splits", "near duplicate, other label"} <= {*table["kind"][path].split("; ")}
    source = data.load(f"folder:{folder}", image_size=64, split=("train", "test"))
    pixels = copies.leaks(np.array(source.parts), [str(i) for i in range(len(source.x))], source.x)
    named = [tuple(source.names[i] for i in pair) for pair in pixels]
    assert ("test/blue/brighter.png", "train/red/scene.png") not in named  # the pixels alone do not say so


def test_hashes_of_a_changed_brightness_are_alike_and_of_other_pictures_not():
    x = np.random.RandomState(0).randint(40, 200, (2, 3, 32, 32)).astype(np.uint8)
    a, b, c = faults.hashes_of(np.stack([x[0], x[0] + 20, x[1]]))
    assert (a != b).sum() <= 2 and (a != c).sum() > max(bits for _, bits in faults.ALIKE)


def wrong_digits(n=300):
    """(probs (1437, 10), given, true) of digits: right and calibrated predictions, 20 % wrong labels."""
    source = data.load("digits")
    given, true = draw_labels(source, "symmetric", 0.2, 0, None)
    logits = 5 * np.eye(10)[true] + np.random.RandomState(0).randn(len(true), 10)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), given, true


@pytest.mark.parametrize("kind", ["array", "npz", "npy", "csv", "parquet"])
def test_probabilities_of_ones_own_judge_without_training(places, kind):
    probs, _, _ = wrong_digits()
    path = places / f"probs.{kind}"
    frame = pd.DataFrame(probs, columns=[str(k) for k in range(10)])
    if kind == "npz":
        np.savez(path, probs=probs)
    elif kind == "npy":
        np.save(path, probs)
    elif kind == "csv":
        frame[frame.columns[::-1]].to_csv(path, index=False)  # columns are found by the classes' names
    elif kind == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    table = lnl_kit.find_errors(
        "digits", noise="symmetric", rate=0.2, probs=probs if kind == "array" else path, report=False
    )
    assert quality((table["true"] != table["given"]).to_numpy(), table["suspicion"].to_numpy())["auc"] > 0.99
    assert open_findings(table.attrs["folder"]).summary["runs"] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p[:, :9], r"have the shape \(1437, 9\); there are 1437 images and 10 classes"),
        (lambda p: p[:5], r"have the shape \(5, 10\)"),
        (lambda p: np.where(np.arange(10) == 3, np.nan, p), "1437 rows that are negative or not finite"),
        (lambda p: np.log(p) + 20, "do not sum to 1; give probabilities, not logits"),
    ],
)
def test_probabilities_that_are_none_are_refused_in_a_sentence(places, change, says):
    with pytest.raises(ValueError, match=says):
        evidence.read_probs(change(wrong_digits()[0]), 1437, [str(k) for k in range(10)])


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            {"features": "efficientnet_lite0", "epochs": 3},
            "features beside epochs, which is for networks trained on the images",
        ),
        ({"features": "efficientnet_lite0", "method": "ce"}, "features beside ce"),
        ({"features": "efficientnet_lite0", "probs": np.ones((3, 2)) / 2}, "only one can judge"),
        ({"features": "resnet"}, "there are no features 'resnet'"),
    ],
)
def test_contradictions_are_refused(places, ask, says):
    with pytest.raises(ValueError, match=says):
        lnl_kit.find_errors("digits", **ask)


def test_the_command_line_finds_errors_by_probabilities(places, capsys):
    np.savez(places / "p.npz", probs=wrong_digits()[0])
    ask = [
        "find-errors",
        "digits",
        "--noise",
        "symmetric",
        "--rate",
        "0.2",
        "--probs",
        str(places / "p.npz"),
        "--out",
        str(places / "found"),
    ]
    assert main(ask) == 0
    out = capsys.readouterr()
    assert out.out.strip() == str(places / "found") and "labels are probably wrong" in out.err
    assert json.loads((places / "found" / "summary.json").read_text())["recipe"] == "probabilities"
    assert main(["find-errors", "digits", "--probs", str(places / "none.npz")]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_labels_of_a_table_are_ranked_by_any_classifier_s_probabilities():
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_predict

    table, rng = load_breast_cancer(), np.random.RandomState(0)
    names = np.array(["malignant", "benign"])
    wrong = rng.rand(len(table.target)) < 0.1
    given = names[np.where(wrong, 1 - table.target, table.target)]
    forest = RandomForestClassifier(60, min_samples_leaf=5, random_state=0)
    probs = cross_val_predict(
        forest, table.data, given, cv=5, method="predict_proba"
    )  # columns sorted: benign, malignant
    found = rank_labels(probs, given)
    assert quality(wrong[found["index"]], found["suspicion"].to_numpy())["auc"] > 0.9
    low, high = found.attrs["estimated_errors_interval"]
    assert low <= wrong.sum() <= high and set(found.columns) == {
        "rank",
        "index",
        "given",
        "suggested",
        "suspicion",
    }
    with pytest.raises(ValueError, match="1 labels are none of the 2 classes, such as 'odd'"):
        rank_labels(probs, [*given[:-1], "odd"], classes=["benign", "malignant"])
