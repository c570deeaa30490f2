"""The command line: one line a method, a flag per setting, one sentence for a mistake."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch

import lnl_kit
from lnl_kit import cli
from lnl_kit.bench import loop
from lnl_kit.methods import METHODS
from lnl_kit.settings import parse


def test_methods_are_listed_name_first_and_never_cut(capsys):
    assert cli.main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(METHODS)
    for line, (_, settings) in zip(lines, METHODS.values()):
        assert line.endswith(settings.__doc__.splitlines()[0])


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_is_a_flag_with_its_comment_as_help(method, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", method, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    for field in dataclasses.fields(METHODS[method][1]):
        assert f"--{field.name.replace('_', '-')}" in shown
    epochs = 1 if METHODS[method][1].needs_features else 60
    assert f"passes over the training set [{epochs}]" in shown or epochs == 1


def test_flags_become_settings(tmp_path, capfd):
    args = [
        "train",
        "nrd",
        "--pi",
        "0.3,0.4,0.3",
        "--scale-jsd",
        "true",
        "--epochs",
        "1",
        "--train-size",
        "128",
        "--rate",
        "0.4",
        "--seed",
        "7",
        "--noise",
        "pair_flip",
        "--out",
        str(tmp_path),
    ]
    assert cli.main(args) == 0
    folder = next(tmp_path.glob("nrd/digits/pair_flip-0.4/seed7-*"))
    asked = json.loads((folder / "settings.json").read_text())["settings"]
    assert asked["pi"] == [0.3, 0.4, 0.3] and asked["scale_jsd"] is True and asked["epochs"] == 1
    assert capfd.readouterr().out.splitlines() == [str(folder)]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "ce", "--rate", "1.2"], "1.2"),
        (["train", "ce", "--epochs", "many"], "--epochs many"),
        (["train", "nrd", "--pi", "1,2"], "pi (1.0, 2.0)"),
        (["train", "ce", "--dataset", "folder:/no/such"], "/no/such"),
        (["train", "ce", "--labels", "/no/such.csv"], "/no/such.csv"),
        (["train", "ce", "--preset", "huge"], "huge"),
        (["reproduce", "99"], "99"),
        (["reproduce", "-p", "rate"], "NAME=VALUE"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, words, capsys, tmp_path):
    assert cli.main([*arguments, *(["--out", str(tmp_path)])]) == 2
    err = capsys.readouterr().err
    assert err.startswith("lnl: ") and words in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "args, sentence",
    [
        (["train", "nrdd"], "lnl: argument METHOD: invalid choice: 'nrdd'"),
        (["train", "ce", "--rate", "half"], "invalid float value: 'half'"),
        (["train", "ce", "--foo", "1"], "unrecognized arguments: --foo"),
        (["bench", "--device", "tpu"], "device 'tpu' is not here"),
        (["train", "ce", "--label-column", "x"], "label column 'x' of which file?"),
    ],
)
def test_a_mistake_is_answered_by_one_line(args, sentence, capsys):
    try:
        code = cli.main(args)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2 and sentence in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"epochs": "1"}, "epochs '1' is not allowed: a value of type int is needed"),
        ({"epochs": 1.5}, "type int is needed"),
        ({"learning_rate": "0.1"}, "type float is needed"),
        ({"milestones": 0.5}, r"type tuple\[float, ...\] is needed"),
        ({"nesterov": 1}, "type bool is needed"),
        ({"view": None}, "type str is needed"),
        ({"seed": 1.5}, "seed 1.5 is not allowed"),
        ({"seed": "a"}, "seed 'a' is not allowed"),
        ({"precision": "fp16"}, "precision 'fp16' does not exist: auto, bf16, fp32"),
        ({"compile": "yes"}, "compile 'yes' does not exist"),
        ({"keep": ("foo",)}, "keep 'foo' does not exist: features, weights"),
        ({"on_interrupt": "x"}, "on_interrupt 'x' does not exist: return, raise"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_before_anything_is_done(wrong, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        lnl_kit.train("ce", out=tmp_path, progress=False, **wrong)
    assert not list(tmp_path.iterdir())


def test_what_is_kept_may_be_named_alone(tmp_path):
    run = lnl_kit.train("ce", out=tmp_path, progress=False, epochs=1, train_size=128, keep="features")
    assert run.settings["keep"] == ["features"] and any("features" in name for name in run.arrays)


def test_parse_values():
    fields = {f.name: f for f in dataclasses.fields(METHODS["nrd"][1])}
    assert parse(fields["milestones"], "0.5,0.75") == (0.5, 0.75) and parse(fields["milestones"], "") == ()
    assert parse(fields["nesterov"], "yes") is True and parse(fields["view"], "crop") == "crop"
    with pytest.raises(ValueError, match="--nesterov maybe"):
        parse(fields["nesterov"], "maybe")


@pytest.mark.slow
def test_bench_writes_its_rows(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert loop.bench(json_file=str(out), quick=True, only="nrd small_cnn", device="cpu") == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["case"] == "nrd small_cnn 16x16" and row["loop_images_per_second"] > 0
    assert 0 < row["ratio"] < 1.5 and row["saving_seconds"] > 0 and "nrd small_cnn" in capsys.readouterr().out


def test_the_bound_does_the_passes_of_the_method():
    passes = {name: settings.bound.networks for name, (_, settings) in METHODS.items()}
    assert passes["ce"] == ((1, 0, False),) and passes["nrd"] == ((1, 1, True),)
    assert all(len(passes[method]) == METHODS[method][1].networks for method, *_ in loop.CASES)


@pytest.mark.slow
def test_the_loop_is_nearly_free():
    for method in ("ce", "nrd"):
        row = loop.loop_over_bound(method, "small_cnn", 16, device=torch.device("cpu"), compiles=("off",))
        assert row["ratio"] >= 0.75, row


def test_a_reader_that_has_read_enough_is_no_error():
    script = "import sys; from lnl_kit import cli; sys.exit(cli.main(['methods']))"
    running = subprocess.Popen(
        [sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    running.stdout.readline()
    running.stdout.close()
    assert running.stderr.read() == "" and running.wait() == 0
