"""Exported runs predict what the run predicts, from the images as they are; the card says what they are."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import feature_file
from findings_by_hand import photos
from PIL import Image, ImageOps

import lnl_kit
from lnl_kit import cli
from lnl_kit.exports import card, formats
from lnl_kit.exports.program import program_of
from lnl_kit.exports.runs import export_run
from lnl_kit.methods import METHODS

TINY = {"epochs": 2, "train_size": 200, "progress": False}
CLASS = "</script>|`x`\n```\n# <b>"  # hostile, and a class


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two networks whose softmaxes are averaged, so that the mean is in the program."""
    return lnl_kit.train("co_teaching", out=tmp_path_factory.mktemp("runs"), precision="fp32", **TINY)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head")
    return lnl_kit.train("ce", features=feature_file(folder), out=folder, precision="fp32", **TINY)


def library(kind):
    """Skip where the library that reads this format is missing."""
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")


def ask(kind, folder, x):
    """Probabilities (n, K) by the file in an exported folder, through the format's own library."""
    name = json.loads((folder / "model.json").read_text())["input"]["name"]
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx")
        return session.run(["probabilities"], {name: x.numpy()})[0]
    if kind == "torch-export":
        return torch.export.load(folder / "model.pt2").module()(x).detach().numpy()
    return torch.jit.load(folder / "model.torchscript.pt")(x).detach().numpy()


@pytest.mark.extras
@pytest.mark.parametrize("kind", ["onnx", "torch-export", "torchscript"])
def test_the_program_predicts_what_the_run_predicts(run, tmp_path, kind):
    library(kind)
    assert len(run.networks()) == 2
    folder = export_run(run, kind, tmp_path / "out")
    x = run.dataset().test_x
    wanted = run.predict(x)
    found = ask(kind, folder, x)
    assert found.dtype == np.float32 and found.shape == wanted.shape == (360, 10)
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(ask(kind, folder, x[:1]) - wanted[:1]).max() < 1e-5  # any number at once
    told = json.loads((folder / "model.json").read_text())
    assert told["input"] | {"steps": []} == {
        "name": "images",
        "dtype": "uint8",
        "shape": ["batch", 1, 16, 16],
        "range": [0, 255],
        "steps": [],
    }
    assert told["largest_difference"] < 1e-5 and told["classes"] == list(run.classes)


@pytest.mark.extras
@pytest.mark.parametrize("kind", ["onnx", "torch-export", "torchscript"])
def test_a_head_takes_features_and_has_their_axes_inside(head, tmp_path, kind):
    library(kind)
    folder = export_run(head, kind, tmp_path / "out")
    held = np.load(head.settings["features"][4:])["test_features"].astype(np.float16).astype(np.float32)
    found = ask(kind, folder, torch.from_numpy(held))
    assert np.abs(found - head.arrays["test_probs"]).max() < 1e-5
    told = json.loads((folder / "model.json").read_text())
    assert told["input"]["name"] == "features" and told["features"].startswith("npz:")


def test_on_frozen_features_the_program_takes_images_where_one_network_gives_them(tmp_path):
    folder = photos(tmp_path / "photos", each=12)
    run = lnl_kit.train(
        "ce", folder, "none", features="efficientnet_lite0", epochs=3, out=tmp_path / "runs", progress=False
    )
    made = program_of(run)
    assert (made.takes, made.shape, made.resample) == ("images", (3, 128, 128), "bicubic")
    paths = [folder / p for p in run.dataset().test_paths]
    fit = [ImageOps.fit(Image.open(p).convert("RGB"), (128, 128), Image.Resampling.BICUBIC) for p in paths]
    images = torch.from_numpy(np.stack([np.asarray(i) for i in fit])).permute(0, 3, 1, 2).contiguous()
    out = export_run(run, "torchscript", tmp_path / "out")
    with torch.no_grad():
        found = ask("torchscript", out, images)
        assert np.abs(found - made.module(images).numpy()).max() < 1e-5
    # the run's own features are kept as float16: that much they differ
    assert np.abs(found - run.arrays["test_probs"]).max() < 5e-3
    assert program_of(run, head=True).takes == "features"


@pytest.mark.extras
@pytest.mark.parametrize("kind", formats.FORMATS)
def test_the_program_in_the_card_works_as_it_stands(run, tmp_path, monkeypatch, capsys, kind):
    library(kind)
    folder = export_run(run, kind, tmp_path / "out")
    x = run.dataset().test_x[:1]
    Image.fromarray(x[0, 0].numpy()).save(folder / "photo.png")
    text = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    monkeypatch.chdir(folder)
    exec(compile(text.replace("photo.jpg", "photo.png"), "README.md", "exec"), {})
    name, said = capsys.readouterr().out.split()
    wanted = run.predict(x)[0]
    assert name == run.classes[wanted.argmax()] and abs(float(said) - wanted.max()) < 1e-5


def test_the_program_in_the_card_of_a_head(head, tmp_path, monkeypatch, capsys):
    folder = export_run(head, "safetensors", tmp_path / "out")
    held = np.load(head.settings["features"][4:])["test_features"]
    np.save(folder / "features.npy", held[:1].astype(np.float16))
    text = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    monkeypatch.chdir(folder)
    exec(compile(text, "README.md", "exec"), {})
    assert abs(float(capsys.readouterr().out.split()[1]) - head.arrays["test_probs"][0].max()) < 1e-5


@pytest.mark.parametrize("name", [m for m in formats.FORMATS if m != "onnx"])
def test_a_file_that_predicts_something_else_is_not_written(run, tmp_path, monkeypatch, name):
    monkeypatch.setattr(formats, "predicted", lambda kind, content, x, made: np.full((8, 10), 0.1, "f4"))
    with pytest.raises(ValueError, match="differ by"):
        export_run(run, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_card_says_the_spread_over_the_seeds_that_are_kept(tmp_path):
    runs = [lnl_kit.train("ce", seed=seed, out=tmp_path, **TINY) for seed in (0, 1, 2)]
    other = lnl_kit.train("ce", seed=3, out=tmp_path, **TINY | {"epochs": 1})
    assert [r.settings["seed"] for r in card.same_but_seed(runs[1])] == [0, 1, 2]
    last = [r.summary["test_accuracy_last"] for r in runs]
    folder = export_run(runs[1], "safetensors")
    assert folder == runs[1].folder / "export-safetensors"
    text = (folder / "README.md").read_text()
    assert f"| {last[1]:.3f} | {np.mean(last):.3f} ± {np.std(last, ddof=1):.3f} |" in text
    assert "Seeds kept: 0, 1, 2." in text and "symmetric 0.5" in text and "nothing" in text
    alone = (export_run(other, "safetensors") / "README.md").read_text()
    assert "One seed says nothing of the spread" in alone and "±" not in alone
    assert METHODS["ce"][1].__doc__.splitlines()[0].rstrip(".") in text.replace("&#45;", "-")


def test_hostile_class_names_stay_within_their_block_of_json(tmp_path):
    folder = photos(tmp_path / "photos", each=6)
    rows = "path,label\n" + "".join(
        f'"{p.parent.name}/{p.name}","{CLASS if p.parent.name == "cat" else "other"}"\n'
        for p in sorted(folder.glob("*/*.png"))
    )
    (tmp_path / "labels.csv").write_text(rows)
    run = lnl_kit.train(
        "ce", folder, "none", labels=tmp_path / "labels.csv", out=tmp_path / "runs", epochs=1, progress=False
    )
    assert CLASS in run.classes
    text = (export_run(run, "safetensors", tmp_path / "out") / "README.md").read_text()
    assert "<b>" not in text.split("```json")[0]
    assert json.loads(text.split("```json\n")[1].split("\n```")[0])["classes"] == list(run.classes)
    fences = [line for line in text.splitlines() if line.startswith("```")]
    assert fences == ["```python", "```", "```json", "```"]


def test_an_unfinished_run_is_exported_as_of_its_last_epoch(run, tmp_path):
    (run.folder / "summary.json").rename(run.folder / "kept.json")
    try:
        text = (export_run(run.folder, "safetensors", tmp_path / "out") / "README.md").read_text()
    finally:
        (run.folder / "kept.json").rename(run.folder / "summary.json")
    assert "not finished" in text


def test_refusals_in_one_sentence(run, head, tmp_path, capsys, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my own")
    cases = {
        ("runs/none",): "is not a run folder",
        (str(run.folder), "--out", str(tmp_path / "mine")): "holds other files and no export",
        (str(run.folder), "--head"): "--head is for runs on frozen features",
    }
    for arguments, said in cases.items():
        assert cli.main(["export", *arguments, "--to", "torchscript"]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert (tmp_path / "mine" / "README.md").read_text() == "my own"
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["export", str(run.folder), "--to", "onnx"]) == 2
    assert "pip install 'lnl-kit[export]'" in capsys.readouterr().err


def test_the_command_prints_the_folder_and_writes_over_its_own(run, tmp_path, capsys):
    for _ in range(2):
        assert cli.main(["export", str(run.folder), "--to", "safetensors", "--out", str(tmp_path / "o")]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "o")
    assert {p.name for p in (tmp_path / "o").iterdir()} - {".lock"} == {
        "README.md",
        "model.json",
        "model.safetensors",
    }
