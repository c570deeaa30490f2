"""A method with a paper of its own is one file, one line and rows in data/published."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

METHOD = '''
"""Taylor cross-entropy: the loss cut after the first terms of its Taylor series (Feng et al., IJCAI 2020)."""

from dataclasses import dataclass
from typing import ClassVar

from .loss_only import LossOnly, train_loss_only


@dataclass(frozen=True, kw_only=True)
class TaylorCE(LossOnly):
    """Cross-entropy as a series: sum_{i=1}^{t} (1 - p_y)^i / i."""

    terms: int = 6  # how many terms of the series are kept

    paper: ClassVar[str | None] = "taylor"

    def loss(self, logits, y):
        """(B,) loss of logits (B, K) on given labels (B,)."""
        wrong = 1 - logits.float().softmax(1).gather(1, y[:, None])[:, 0]
        return sum(wrong**i / i for i in range(1, self.terms + 1))


METHODS = {"taylor_ce": (train_loss_only, TaylorCE)}
'''
SETTINGS = """
taylor,cifar10,TCE,symmetric,0.4,architecture,preactresnet34,Sec. 5
taylor,cifar10,TCE,symmetric,0.4,learning_rate,0.01,Sec. 5
taylor,cifar10,TCE,symmetric,0.4,epochs,120,Sec. 5
taylor,cifar10,TCE,symmetric,0.4,t,4,Sec. 5
"""
# The numbers are of this test, not of the paper.
RESULTS = "taylor,Table 2,cifar10,test,preactresnet34,TCE,symmetric,0.4,accuracy,80.5,0.5,3,\n"
NAMES = "taylor,TCE,taylor_ce,\ntaylor,t,terms,\n"

ASKED = """
from pathlib import Path

import lnl_kit
from lnl_kit import cli, figures
from lnl_kit.methods import METHODS, family
from lnl_kit.papers import cells, comparison, presets
from lnl_kit.results import leaderboard

assert lnl_kit.__file__.startswith(str(Path.cwd())), lnl_kit.__file__
assert family("taylor_ce") == "a loss" and list(METHODS)[-1] == "taylor_ce"
assert cells.cells("taylor_ce", "taylor") == [("cifar10", "symmetric", 0.4)]
settings = METHODS["taylor_ce"][1]
cell = presets.resolve("paper", "taylor_ce", settings, dataset="cifar10", noise="symmetric", rate=0.4)
assert cell.model == "preact_resnet34", cell
assert {k: cell.settings[k] for k in ("learning_rate", "epochs", "terms")} == dict(
    learning_rate=0.01, epochs=120, terms=4), cell

run = lnl_kit.train("taylor_ce", noise="symmetric", rate=0.4, epochs=1, terms=2)
table = comparison.beside([run], "taylor", "Table 2", dataset_map={"digits": "cifar10"})
(row,) = table.to_dict("records")
assert (row["method"], row["published"], row["published_std"]) == ("taylor_ce", 0.805, 0.005), row
assert 0 < row["last"] < 1 and row["seeds"] == 1, row

cli.main("compare ce,taylor_ce --noise symmetric:0.4 --epochs 1 --csv rows.csv".split())
board = leaderboard.board(leaderboard.rows("rows.csv"), "symmetric 0.4")
assert set(board.index) == {"ce", "taylor_ce"} and set(board.family) == {"a loss"}, board
assert "taylor_ce" in figures.ranking(board).to_json()

cli.main(["methods"])
try:
    cli.main(["train", "taylor_ce", "--help"])
except SystemExit:
    pass
"""


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8").rstrip("\n") + "\n" + text.lstrip("\n"), "utf-8")


def test_one_file_one_line_and_published_rows_are_enough(tmp_path):
    for part in ("lnl_kit", "data/published"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "lnl_kit/methods/taylor_ce.py").write_text(METHOD.lstrip(), "utf-8")
    listed = tmp_path / "lnl_kit/methods/__init__.py"
    before = listed.read_text("utf-8")
    listed.write_text(before.replace('    "unicon",\n', '    "unicon",\n    "taylor_ce",\n'), "utf-8")
    assert len(listed.read_text("utf-8").splitlines()) == len(before.splitlines()) + 1  # one line
    append(tmp_path / "data/published/hyperparameters.csv", SETTINGS)
    append(tmp_path / "data/published/results.csv", RESULTS)
    append(tmp_path / "data/published/names.csv", NAMES)
    environment = {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "LNL_RUNS": str(tmp_path / "runs")}
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Cross-entropy as a series" in done.stdout  # lnl methods
    assert "how many terms of the series are kept" in " ".join(done.stdout.split())  # lnl train taylor_ce -h
