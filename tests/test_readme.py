"""The README's tables of results are the kept rows, to the digit; no such table stands without a test."""

from pathlib import Path

import pandas as pd

from lnl_kit.results import measured

ROOT = Path(__file__).parent.parent
LINES = (ROOT / "README.md").read_text("utf-8").splitlines()
# Headings of the tables that are held to their rows here or elsewhere.
HERE = (
    "| digits (`quick`, seeds 0-2) |",
    "| CIFAR-10N | wrong | estimated | AUC",
    "| digits (`quick`) | test acc",
)
HERE += ("| digits | recipe |", "| CIFAR-10N | wrong | estimated | lnl-kit |")
ELSEWHERE = {
    "| digits (`quick`) | symmetric 0.5": "test_leaderboard.py",
    "| digits (`quick`), seed 0 |": "test_leaderboard.py",
    "| method | last | spread |": "test_leaderboard.py",
    "| network | batch | method |": "test_results_gpu.py",
    "| timed | images/s |": "test_results_gpu.py",
    "| noise | run | last |": "test_results_gpu.py",
    "| campaign | cases |": "test_bad_input.py",
}
NO_RESULTS = ("| preset | data | network |",)


def table(heading: str) -> list[list[str]]:
    """The cells of a table's rows, without marks."""
    start = next(i for i, line in enumerate(LINES) if line.startswith(heading)) + 2
    end = next(i for i in range(start, len(LINES)) if not LINES[i].startswith("|"))
    rows = [line.replace("*", "").replace("`", "").strip("|").split("|") for line in LINES[start:end]]
    return [[cell.strip() for cell in row] for row in rows]


def spread(values, digits=3) -> str:
    """ ".911 ± .004": mean and standard deviation."""
    return " ± ".join(part(v, digits) for v in (values.mean(), values.std()))


def part(value: float, digits=3) -> str:
    """A number between 0 and 1 without its zero."""
    return f"{value:.{digits}f}".removeprefix("0")


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def seeds(rows, wanted=(0, 1, 2)):
    """The rows of these seeds, which are there once each."""
    assert sorted(rows.seed) == list(wanted)
    return rows


def kept(name: str) -> pd.DataFrame:
    return pd.DataFrame(measured.read(name))


def test_every_table_of_results_has_its_test():
    known = (*HERE, *ELSEWHERE, *NO_RESULTS)
    headings = [
        line
        for before, line in zip(["", *LINES], LINES)
        if line.startswith("| ") and not before.startswith("|")
    ]
    assert len(headings) == len(known)
    for heading in headings:
        assert any(heading.startswith(start) for start in known), f"no test holds {heading!r} to its rows"
    for start, file in ELSEWHERE.items():
        assert file and (ROOT / "tests" / file).exists(), start


def test_robust_features_beside_its_controls():
    rows = kept("24_robust_features")
    columns = ("CE", "CE, RFL's views", "RFL")
    for line in table(HERE[0])[:3]:
        noise, rate = line[0].rsplit(" ", 1)
        some = rows[(rows.noise == noise.replace(" ", "_")) & (rows.rate == float(rate))]
        for cell, column in zip(line[1:], columns, strict=True):
            those = some[some.cell == column]
            those = seeds(those[those.method == "ce"] if column == "CE" else those)
            last, best = 100 * those.test_accuracy_last, 100 * those.test_accuracy_best
            assert cell == f"{last.mean():.1f} ± {last.std():.1f} ({best.mean():.1f})", (line, column)


COMPARED = {"ours": "lnl-kit heads", "datalab": "cleanlab Datalab, same probabilities"}
COMPARED["issues"] = "cleanlab find_label_issues, same probabilities"


def test_label_errors_on_features_beside_cleanlab():
    rows = kept("find_errors_heads")
    rows = rows[(rows.dataset == "cifar10n") & (rows.train_images == 5000)]
    for line in table(HERE[1]):
        of = {k: seeds(rows[(rows.labels == line[0]) & (rows.method == m)]) for k, m in COMPARED.items()}
        ours, datalab = of["ours"], of["datalab"]
        assert line[1:] == [
            f"{percent(ours.share_wrong.mean())} %",
            f"{percent(ours.estimated_share.mean())} %",
            *(spread(of[k].auc) for k in COMPARED),
            f"{part(ours.average_precision.mean())} / {part(datalab.average_precision.mean())}",
            f"{part(ours.precision_at_n.mean())} / {part(datalab.precision_at_n.mean())}",
        ]
        for column in ("auc", "average_precision"):  # "with each seed"
            for other in ("datalab", "issues"):
                pairs = zip(ours.sort_values("seed")[column], of[other].sort_values("seed")[column])
                assert all(mine > theirs for mine, theirs in pairs), (line[0], column, other)


def test_open_set():
    rows = kept("open_set")
    names = {"ELR": "elr", "SOP": "sop", "cross-entropy": "ce"}
    for line in table(HERE[2]):
        wanted = (0, 1, 2) if line[4] == "0-2" else (0,)
        some = rows[rows.method == names[line[0]]]
        beside, without = seeds(some[some.open_set == 0.2], wanted), some[some.open_set.isna()]
        assert set(without.seed) <= set(wanted)
        accuracies = [100 * part.test_accuracy_last for part in (beside, without)]
        auroc = beside.outside_auroc_confidence_last
        if len(wanted) == 1:
            assert line[1:4] == [f"{accuracies[0].mean():.1f}", "–", part(auroc.mean())]
        else:
            told = [f"{a.mean():.1f} ± {a.std():.1f}" for a in accuracies]
            assert line[1:4] == [*told, spread(auroc)]


def test_detectors():
    rows = kept("detectors")
    for line in table(HERE[3]):
        labels, rate = line[0].split()
        some = rows[(rows.dataset == "digits") & (rows.labels == labels) & (rows.rate == float(rate))]
        digits = 4 if float(rate) == 0.2 else 3
        for cell, method in zip(line[1:], ("recipe", "aum", "mean_margin", "data_maps", "simifeat")):
            assert cell == spread(seeds(some[some.method == method]).auc, digits), (line[0], method)


def test_label_errors_of_trained_networks():
    rows = kept("find_errors")
    for line in table(HERE[4]):
        names = ("lnl-kit", "cleanlab self-confidence", "cleanlab find_label_issues")
        of = [seeds(rows[(rows.labels == line[0]) & (rows.method == m)], (0, 1)) for m in names]
        assert line[1:] == [
            f"{percent(of[0].share_wrong.mean())} %",
            f"{percent(of[0].estimated_share.mean())} %",
            *(spread(some.auc) for some in of),
            f"{part(of[0].precision_at_n.mean())} / {part(of[1].precision_at_n.mean())}",
        ]


def test_label_errors_of_digits():
    rows = kept("find_errors")
    text = " ".join(" ".join(LINES).split())
    names = ("symmetric 0.2", "symmetric 0.5", "none 0", "asymmetric 0.4")
    of = [seeds(rows[(rows.labels == name) & (rows.method == "lnl-kit")]) for name in names]
    auc = [part(some.auc.mean(), 4 if n < 2 else 3) for n, some in enumerate(of)]
    said = [f"{percent(some.estimated_share.mean())} %" for some in of]
    wrong = [f"{percent(some.share_wrong.mean())} %" for some in of]
    for told in (
        f"at symmetric 0.2 {auc[0]} with a precision of {part(of[0].precision_at_n.mean())}, ",
        f"{said[0]} estimated and {wrong[0]} wrong (means); ",
        f"at symmetric 0.5 {auc[1]}, {said[1]} and {wrong[1]}; without noise {said[2]}; ",
        f"at asymmetric 0.4 {auc[3]}, {said[3]} and {wrong[3]}.",
    ):
        assert told in text


DEMO = {
    "cross-entropy": "ce",
    "GCE": "gce",
    "Co-teaching": "co_teaching",
    "NRD": "nrd",
    "LCI": "label_confidence",
    "DivideMix": "dividemix",
    "ELR": "elr",
    "LNL-flywheel": "flywheel",
    "PUDistill with 500 labels known to be right": "pu_distill",
    "RFL": "robust_features",
}


def test_photographs_under_demo():
    rows = kept("cifar10n")
    rows = rows[(rows.seed == 0) & ~rows.asked.str.contains("alpha") & (rows.preset == "demo")]
    text = " ".join(" ".join(LINES).replace("*", "").split())
    for name, method in DEMO.items():
        row = rows[rows.method == method].iloc[0]
        told = f"{name} {percent(row.test_accuracy_last)} ({percent(row.test_accuracy_best)})"
        assert told in text, (told, len(rows[rows.method == method]))
