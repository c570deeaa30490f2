"""What `lnl_kit.bench.gpu` measured and is kept in data/measured/gpu.jsonl, and the tables made from it.

`python -m lnl_kit.results.gpu` prints the README's; `lnl_kit.bench.gpu_keep` makes the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from . import measured

NAME = "gpu.jsonl"  # in data/measured
NOTHING = "Nothing was measured on a GPU yet."
# Each method beside its controls, cross-entropy first: what a row is called in `bench.gpu_plan.VARIANTS`.
GROUPS = {
    "NRD": ("ce", "ce_step_matched", "nrd", "nrd_scaled", "nrd_crop"),
    "LCI": ("ce", "label_confidence", "label_confidence_constant"),
    "LNL-flywheel": ("ce", "flywheel_3", "flywheel_0.6", "flywheel_0"),
    "RFL": ("ce", "robust_features_0.1", "robust_features_0.01"),
    "others": ("ce", "gce", "elr", "co_teaching", "dividemix"),
}
ORDER = list(dict.fromkeys(label for group in GROUPS.values() for label in group))


def read(path: str | Path | None = None) -> list[dict]:
    """The kept rows, of data/measured/gpu.jsonl if no other file is named. No file: no rows."""
    file = Path(path) if path else measured.FOLDER / NAME
    found = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in found]


def loops(rows: list[dict]) -> list[dict]:
    """One row a timed loop: images a second of the loop and of its bound (the network's steps alone), their
    ratio with its least and largest round, and `idle`, the share of the profiled time in which the GPU had
    nothing to do (missing where no profile was made). A loop that failed has its `error` and no numbers.
    `call` is the number of the session: rows of one were measured under the same load of the machine.
    """
    found = [
        {
            "network": row["job"].split("/")[-3],
            "batch": int(row["job"].split("/")[-2]),
            "method": row["job"].split("/")[-1],
            "compile": row.get("compile", "off"),
            "loop": row.get("loop_images_per_second"),
            "bound": row.get("bound_images_per_second"),
            "ratio": row.get("ratio"),
            "least": row.get("ratio_min"),
            "largest": row.get("ratio_max"),
            "idle": row.get("profile", {}).get("gpu_idle"),
            "device": row["device"],
            "call": row["call"],
            "error": row.get("error"),
        }
        for row in rows
        if row.get("kind") == "bench"
    ]
    return sorted(
        found,
        key=lambda r: (r["network"], r["batch"], r["compile"], r["method"] != "ce", r["method"], r["call"]),
    )


def timings(rows: list[dict]) -> list[dict]:
    """What else was timed, each beside its measure: `what`, `rate` (images a second), `beside`,
    `beside_rate`, `ratio` of the two, device.
    """
    trained = next(
        (r["loop"] for r in loops(rows) if (r["network"], r["method"]) == ("airbench", "ce") and r["loop"]),
        None,
    )
    found = []
    for row in (r for r in rows if r.get("ended")):
        rates, case = row.get("images_per_second", {}), row.get("case", "").replace(" 32x32", "")
        if row["kind"] == "graph":
            what = f"a training step as one CUDA graph: {case}, batch {row['batch']}"
            each = [(what, row["graph_images_per_second"], "without it", row["eager_images_per_second"])]
        elif row["kind"] == "stacked":
            members, batch = int(case.split()[-3]), row["batch"]
            what = f"{members} networks stacked: {case.split()[1].rstrip(',')}, batch {batch}"
            seconds = row["stacked_seconds"], row["sequential_seconds"]
            each = [(what, members * batch / seconds[0], "one after the other", members * batch / seconds[1])]
        elif row["kind"] == "rate":
            n = str(row["chosen"])
            each = [(f"{n} runs side by side: ce, airbench", rates[n], "one alone", rates.get("1"))]
        elif row["kind"] == "augmentation":
            each = [(f"augmentation `{v}`", r, "the loop of ce, airbench", trained) for v, r in rates.items()]
        else:
            continue
        for what, rate, beside, other in each:
            ratio = rate / other if other else None
            pair = {"what": what, "rate": rate, "beside": beside, "beside_rate": other}
            found.append(pair | {"ratio": ratio, "device": row["device"]})
    return found


def runs(rows: list[dict]) -> list[dict]:
    """One row a training run, a noise after the other: `noise`, `label` (see GROUPS), network, seed, `last`
    and `best` test accuracy, memorised, ece and auc (of telling right labels from wrong ones) at the last
    epoch there is, `own` (its own predictions right, of all training labels), `refurbished` (the labels that
    it trained on right, where it changes them), `given` (the given labels right), epochs, planned, ended,
    seconds, `repeated` (of an earlier try: epochs to compare, and how many came out the same).
    """
    kept = [row for row in rows if row.get("kind") == "run" and row.get("epochs")]
    wrong = {(r["noise"], r["seed"]): float(r["actual_rate"]) for r in kept if "actual_rate" in r}
    found = []
    for row in kept:
        last, rate = row["epochs"][-1], wrong.get((row["noise"], row["seed"]))
        clean, mislabelled = last.get("train_accuracy_clean"), last.get("train_accuracy_wrong")
        own = None if rate is None or clean is None else (1 - rate) * clean + rate * mislabelled
        found.append(
            {
                "noise": row["noise"],
                "label": row["label"],
                "network": row["model"],
                "seed": row["seed"],
                "last": last["test_accuracy"],
                "best": max(e["test_accuracy"] for e in row["epochs"]),
                "memorised": last.get("memorized"),
                "ece": last["test_ece"],
                "auc": last.get("selection_auc"),
                "own": own,
                "refurbished": last.get("refurbished_accuracy"),
                "given": None if rate is None else 1 - rate,
                "epochs": len(row["epochs"]),
                "planned": row["planned"],
                "ended": row["ended"],
                "seconds": row["seconds"],
                "repeated": row.get("repeated"),
                "device": row["device"],
                "call": row["call"],
            }
        )
    noises = list(dict.fromkeys(r["noise"] for r in found))
    place = {label: i for i, label in enumerate(ORDER)}
    return sorted(
        found, key=lambda r: (noises.index(r["noise"]), place.get(r["label"], len(place)), r["seed"])
    )


def curves(rows: list[dict], noise: str, network: str = "airbench", seed: int = 0) -> dict[str, dict]:
    """The runs of a noise by label, {"epochs": a row of metrics for each, "ended": ...}, as
    `figures.by_epoch` takes them.
    """
    return {
        r["label"]: {"epochs": r["epochs"], "ended": r["ended"]}
        for r in rows
        if r.get("kind") == "run"
        and r["epochs"]
        and (r["noise"], r["model"], r["seed"]) == (noise, network, seed)
    }


# ---- the README --------------------------------------------------------------------------------------------


def markdown(rows: list[dict] | None = None) -> str:
    """The README's tables, of the kept rows if no others are given: loops, what else was timed, runs."""
    rows = read() if rows is None else rows
    blocks = [of_loops(loops(rows)), of_timings(timings(rows)), of_runs(runs(rows))]
    return "\n\n".join(block for block in blocks if block) or NOTHING


def grid(head: Iterable[str], body: list[list[str]]) -> str:
    """A Markdown table, empty without rows."""
    titles = list(head)
    whole = [titles, ["---"] * len(titles), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in whole) if body else ""


def text(value: float | None, form: str) -> str:
    """A number, or a dash where it is missing."""
    return "–" if value is None else format(value, form)


def of_loops(found: list[dict]) -> str:
    """The loops against their bounds, as Markdown."""
    head = [
        "network",
        "batch",
        "method",
        "loop, images/s",
        "bound, images/s",
        "loop over bound",
        "GPU idle",
        "call",
    ]
    return grid(
        head,
        [
            [
                r["network"],
                str(r["batch"]),
                r["method"] + ("" if r["compile"] == "off" else f", compile {r['compile']}"),
                "failed" if r["error"] else text(r["loop"], ",.0f"),
                text(r["bound"], ",.0f"),
                "–" if r["ratio"] is None else f"{r['ratio']:.2f} ({r['least']:.2f}-{r['largest']:.2f})",
                text(r["idle"], ".0%"),
                str(r["call"]),
            ]
            for r in found
        ],
    )


def of_timings(found: list[dict]) -> str:
    """What else was timed, as Markdown."""
    return grid(
        ["timed", "images/s", "beside", "images/s", "times"],
        [
            [
                r["what"],
                f"{r['rate']:,.0f}",
                r["beside"],
                text(r["beside_rate"], ",.0f"),
                text(r["ratio"], ".1f"),
            ]
            for r in found
        ],
    )


def of_runs(found: list[dict]) -> str:
    """The runs, as Markdown; one that did not end says so at its name and in its epochs."""
    head = ["noise", "run", "last", "best", "memorised", "ECE", "AUC", "own right", "epochs", "seconds"]
    several = len({r["network"] for r in found if r["network"]}) > 1
    return grid(
        head,
        [
            [
                r["noise"],
                r["label"]
                + (f", {r['network']}" if several else "")
                + (f", seed {r['seed']}" if r["seed"] else "")
                + ("" if r["ended"] else " (cut short)"),
                f"{r['last']:.1%}",
                f"{r['best']:.1%}",
                text(r["memorised"], ".1%"),
                f"{r['ece']:.3f}",
                text(r["auc"], ".3f"),
                text(r["own"], ".1%"),
                str(r["epochs"]) if r["ended"] else f"{r['epochs']} of {r['planned']}",
                f"{r['seconds']:.0f}",
            ]
            for r in found
        ],
    )


if __name__ == "__main__":
    print(markdown())
