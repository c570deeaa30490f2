"""Settings in files: read as data, with limits, and the same run from the file as from the arguments."""

import json

import pytest

import lnl_kit
from lnl_kit import cli, read_config
from lnl_kit.commands import config
from lnl_kit.commands.config import LARGEST

SAME = {
    "yaml": "# mine\nepochs: 2\nlearning_rate: 1e-2\nrate: 0.4\nlike: ~\nsettings:\n  pi: [0.3, 0.4, 0.3]\n",
    "yml": "{epochs: 2, learning_rate: .01, rate: 4e-1, settings: {pi: [0.3, 0.4, 0.3]}}",
    "json": '{"method": "nrd", "epochs": 2, "learning_rate": 1e-2, "rate": 0.4, "pi": [0.3, 0.4, 0.3]}',
    "toml": 'method = "nrd"\nepochs = 2\nlearning_rate = 1e-2\nrate = 0.4\n[settings]\npi = [0.3, 0.4, 0.3]',
}


def written(folder, text, name="settings.yaml"):
    """A file of that text."""
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("ending", SAME)
def test_every_format_asks_for_the_same(tmp_path, ending):
    read = read_config(written(tmp_path, SAME[ending], f"settings.{ending}"), "nrd")
    assert read == {"epochs": 2, "learning_rate": 0.01, "rate": 0.4, "pi": [0.3, 0.4, 0.3]}
    told = lnl_kit.dry_run("nrd", out=tmp_path, **read)
    typed = lnl_kit.dry_run("nrd", out=tmp_path, epochs=2, learning_rate=0.01, rate=0.4, pi=(0.3, 0.4, 0.3))
    assert told.folder == typed.folder


def test_yaml_is_read_as_people_mean_it(tmp_path):
    text = (
        "compile: off\nnoise: none\nseed: 010\nlike:\nview: 'crop'\nschedule: cosine\nnesterov: true\nrate: 1"
    )
    assert read_config(written(tmp_path, text)) == {
        "compile": "off",
        "noise": "none",
        "seed": 10,
        "view": "crop",
        "schedule": "cosine",
        "nesterov": True,
        "rate": 1,
    }
    assert read_config(written(tmp_path, "\ufeffepochs: 3"), "ce") == {"epochs": 3}


@pytest.mark.parametrize(
    "text, name, words",
    [
        ("epocs: 2", "s.yaml", "there is no setting 'epocs'; the nearest name is 'epochs'"),
        ("learning-rate: 2", "s.yaml", "the nearest name is 'learning_rate'"),
        ("beta: 0.3", "s.yaml", "beta is a setting of "),
        ("fresh: true", "s.yaml", "give it on the command line"),
        ("method: ce", "s.yaml", "holds settings of ce, not of nrd"),
        ("epochs: 1\nsettings: {epochs: 2}", "s.yaml", "gives epochs twice"),
        ("settings: 3", "s.yaml", "settings must be a table"),
        ("epochs: 1\nepochs: 2", "s.yaml", "epochs is given twice"),
        ('{"epochs": 1, "epochs": 2}', "s.json", "epochs is given twice"),
        ("epochs = 1\nepochs = 2", "s.toml", "TOML"),
        ("a: &x [1]\nb: *x", "s.yaml", "aliases"),
        ("a: !!python/object/apply:os.system ['true']", "s.yaml", "could not determine a constructor"),
        ("[1, 2]", "s.yaml", "no table of names and values"),
        ("3: 4", "s.yaml", "no table of names and values"),
        ("? [1]\n: 2", "s.yaml", "cannot be read as YAML"),
        ("epochs: [", "s.yaml", "cannot be read as YAML"),
        ("{", "s.json", "cannot be read as JSON"),
        ("[" * 20_000, "s.json", "cannot be read as JSON"),
        ("[" * 20_000, "s.yaml", "cannot be read as YAML"),
        ("keep: [[[[[1]]]]]", "s.yaml", "deeper than 4 levels"),
        ("#" * (LARGEST + 1), "s.yaml", "MB"),
        ("epochs: 1", "s.txt", "must end in .yaml, .yml, .json, .toml"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_file(tmp_path, text, name, words, capsys):
    path = written(tmp_path, text, name)
    with pytest.raises(ValueError, match=name) as told:
        read_config(path, "nrd")
    assert words in str(told.value) and "\n" not in str(told.value)
    assert cli.main(["train", "nrd", "--config", str(path), "--out", str(tmp_path / "runs")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("lnl: ") and len(err.splitlines()) == 1 and not (tmp_path / "runs").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file of settings"):
        read_config(tmp_path / "none.yaml")


def test_flags_win_and_the_file_beats_defaults(tmp_path, capsys):
    text = "dataset: digits\nepochs: 1\ntrain_size: 200\nseed: 3\nkeep: [features]\nrate: 0.4\nview: none\n"
    path = written(tmp_path, text)
    ask = ["--config", str(path), "--out", str(tmp_path / "runs")]
    assert cli.main(["train", "ce", *ask]) == 0
    assert cli.main(["train", "ce", *ask, "--seed", "0", "--view", "crop", "--keep", "weights"]) == 0
    first, second = (lnl_kit.open_run(line).settings for line in capsys.readouterr().out.splitlines())
    assert (first["seed"], first["settings"]["view"], first["keep"], first["rate"]) == (
        3,
        "none",
        ["features"],
        0.4,
    )
    assert (second["seed"], second["settings"]["view"], second["keep"]) == (
        0,
        "crop",
        ["weights"],
    )  # 0: typed
    assert first["train_images"] == second["train_images"] == 200


MATRIX = "\n".join(
    ",".join("0.9" if i == j else "0.1" if j == (i + 1) % 10 else "0" for j in range(10)) for i in range(10)
)


@pytest.mark.parametrize(
    "method, ask",
    [
        ("nrd", {"pi": (0.3, 0.4, 0.3), "seed": 4, "keep": "weights"}),
        ("ce", {"noise": "matrix:{folder}/T.csv"}),
        ("ce", {"noise": "none", "noisy_val": 0.13, "train_size": 301}),
        ("gce", {"labels": "{folder}/labels.csv", "q": 0.5}),
        ("ce", {"clean_share": 0.2, "preset": "demo", "precision": "fp32"}),
        ("pu_distill", {"clean_share": 0.5, "pseudo_label": "clean"}),
        ("ce", {"preset": "memorise", "features": "none", "model": "small_cnn"}),
    ],
)
def test_the_settings_of_a_run_ask_for_that_run(tmp_path, method, ask):
    written(tmp_path, MATRIX, "T.csv")
    written(tmp_path, "index,given\n" + "".join(f"{i},{i * i % 10}\n" for i in range(1437)), "labels.csv")
    ask = {k: v.format(folder=tmp_path) if isinstance(v, str) else v for k, v in ask.items()}
    run = lnl_kit.train(method, out=tmp_path, progress=False, **{"epochs": 1, "train_size": 256} | ask)
    again = read_config(run.folder / "settings.json")
    told = lnl_kit.dry_run(method, out=tmp_path, **again)
    assert told.folder == run.folder and told.state == "finished"


def test_the_settings_of_an_older_run_ask_for_it_too(tmp_path):
    ask = {"train_size": 301, "noisy_val": 0.13, "epochs": 1}
    run = lnl_kit.train("ce", out=tmp_path, progress=False, **ask)
    held = json.loads((run.folder / "settings.json").read_text())
    for key in ("train_size", "clean_list", "noise_file", "skip_bad"):
        del held[key]
    path = written(tmp_path, json.dumps(held), "settings.json")
    assert lnl_kit.dry_run("ce", out=tmp_path, **read_config(path)).folder == run.folder


def test_every_share_is_held_out_of_the_same_number():
    for n in range(2, 400):
        for share in (0.0, 0.1, 0.13, 0.5):
            left = n - round(share * n)
            found = config._before_holding_out(left, share)
            assert found - round(share * found) == left


def test_the_settings_of_another_method_or_of_a_function_are_refused(tmp_path, capsys):
    run = lnl_kit.train("ce", out=tmp_path, progress=False, epochs=1, train_size=200)
    file = run.folder / "settings.json"
    assert cli.main(["train", "nrd", "--config", str(file), "--out", str(tmp_path)]) == 2
    assert "settings of ce, not of nrd" in capsys.readouterr().err
    held = json.loads(file.read_text()) | {"method": "mine"}
    with pytest.raises(ValueError, match="a function of one's own"):
        read_config(written(tmp_path, json.dumps(held), "settings.json"))


def test_compare_takes_a_file_too(tmp_path, capsys):
    path = written(
        tmp_path, "epochs: 1\ntrain_size: 200\nrate: 0.4\nnoise: pair_flip\nseed: 5\nlearning_rate: 0.05\n"
    )
    ask = ["compare", "ce,gce", "--config", str(path), "--out", str(tmp_path / "runs")]
    assert cli.main(ask) == 0
    runs = lnl_kit.finished_runs(tmp_path / "runs")
    assert {(r.settings["method"], r.settings["noise"], r.settings["seed"]) for r in runs} == {
        ("ce", "pair_flip", 5),
        ("gce", "pair_flip", 5),
    }
    assert {r.settings["settings"]["learning_rate"] for r in runs} == {0.05}
    assert cli.main([*ask, "--noise", "none", "--seeds", "1"]) == 0
    assert {(r.settings["noise"], r.settings["seed"]) for r in lnl_kit.finished_runs(tmp_path / "runs")} == {
        ("pair_flip", 5),
        ("none", 1),
    }
