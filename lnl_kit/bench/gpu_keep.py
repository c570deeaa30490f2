"""`python -m lnl_kit.bench.gpu_keep DIR/gpu.jsonl ...`: what `lnl_kit.bench.gpu` wrote, as it is kept.

The rows worth keeping go to data/measured/gpu.jsonl, which `lnl_kit.results.gpu` reads.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path

from ..files import save_atomically
from ..results import gpu, measured
from .gpu_process import read_lines

OF_EPOCH = ("epoch", *measured.CURVES, "refurbished_accuracy")
OF_SUMMARY = ("method", "model", "preset", "seed", "actual_rate", "precision", "train_images")
LEFT_OUT = ("folder", "labels", "where", "said", "at", "expected", "summary", "settings", "late", "profile")
OF_PROFILE = ("gpu_idle", "kernels_a_step", "waits", "error")
PATHS = re.compile(r"(?<![\w.])/[\w.-]+(/[\w.-]+)+")  # of the machine; none of anybody's business


def keep(files: Iterable[str | Path]) -> list[dict]:
    """The rows worth keeping of these ledgers, each with the number of the call that made it, from 1.

    A ledger may repeat rows of an earlier one. All timings that ended are kept; of a training run that was
    tried more than once its last try that ended; of what never ended the last try that got furthest.
    """
    seen: list[dict] = []
    calls: list[str] = []
    found: list[dict] = []
    for file in files:
        call = 0
        for row in read_lines(Path(file).read_bytes()):
            if row["job"] == "call":
                calls += [row["started"]] if row["started"] not in calls else []
                call = calls.index(row["started"]) + 1
            if row not in seen:
                seen.append(row)
                found.append(short(row) | {"call": call})
    return [
        tidied(row | repeated(row, found[:i]))
        for i, row in enumerate(found)
        if not outdone(row, found[i + 1 :], found[:i])
    ]


def outdone(row: dict, later: list[dict], earlier: list[dict]) -> bool:
    """Whether another try of the same job takes a row's place."""
    if "ended" not in row or (row["ended"] and row["kind"] != "run"):
        return False
    own = row["ended"], len(row.get("epochs", ()))
    tries = [
        [(r["ended"], len(r.get("epochs", ()))) for r in rows if r["job"] == row["job"]]
        for rows in (later, earlier)
    ]
    return any(t >= own for t in tries[0]) or any(t > own for t in tries[1])


def repeated(row: dict, earlier: list[dict]) -> dict:
    """For a training run that was tried before: how many epochs there were to compare, and how many of them
    came out the same, from the first on, in every column that is kept.
    """
    tries = [r["epochs"] for r in earlier if r["job"] == row["job"] and "epochs" in r]
    before: list[dict] = max(tries, key=len, default=[])
    pairs = list(zip(before, row.get("epochs", ())))
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    return {"repeated": {"epochs": len(pairs), "same": same}} if pairs else {}


def short(row: dict) -> dict:
    """A row of the ledger without what only its machine needs; of a run one kind of row, ended or not."""
    kept = {k: v for k, v in row.items() if k not in LEFT_OUT}
    if "failures" in row:
        kept["failures"] = [name for name, _ in row["failures"]]
    if "profile" in row:
        kept["profile"] = {k: row["profile"][k] for k in OF_PROFILE if k in row["profile"]}
    if row.get("kind") != "run":
        return kept
    summary = row.get("summary", {})
    asked = row.get("settings", {}).get("epochs")
    return (
        kept
        | {k: summary[k] for k in OF_SUMMARY if k in summary}
        | {
            "noise": noise_of(summary or row["noise"]),
            "planned": summary.get("epochs", asked),
            "epochs": [{k: e[k] for k in OF_EPOCH if k in e} for e in row["epochs"]],
        }
    )


def noise_of(asked: dict) -> str:
    """ "worst" or "symmetric 0.5", from a summary or the arguments of a run."""
    kind = asked.get("label_column") or asked["noise"]
    return kind.removeprefix("labels-") if not asked.get("rate") else f"{kind} {asked['rate']:g}"


def tidied(value):
    """Numbers to six digits, texts without paths."""
    if isinstance(value, dict):
        return {k: tidied(v) for k, v in value.items()}
    if isinstance(value, list):
        return [tidied(v) for v in value]
    if isinstance(value, str):
        return PATHS.sub("...", value)
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m lnl_kit.bench.gpu_keep", description="Make data/measured/gpu.jsonl."
    )
    parser.add_argument("ledgers", nargs="+", help="each a gpu.jsonl that bench.gpu wrote; oldest first")
    files = parser.parse_args(argv).ledgers
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        parser.error(f"{', '.join(missing)} is no file: name the gpu.jsonl in what was --out of bench.gpu")
    kept = "".join(json.dumps(row) + "\n" for row in keep(files))
    save_atomically(measured.FOLDER / gpu.NAME, kept.encode())


if __name__ == "__main__":
    main()
