"""The cells of the papers' tables, with every setting that the paper prints for them."""

from __future__ import annotations

from typing import Any

from .published import name, noise_key, papers, parse, read, results, tables


def _settings_of(paper: str, method: str) -> list[dict]:
    """The rows of hyperparameters.csv for a method (our name) with our names, then those for all methods."""
    rows = [
        {**r, "method": name(r["method"], paper), "noise_type": name(r["noise_type"], paper)}
        for r in read("hyperparameters.csv")
        if r["paper"] == paper
    ]
    return [r for r in rows if r["method"] == "all"] + [r for r in rows if r["method"] == method]


def _key(row: dict) -> tuple[str, float]:
    return noise_key(row["noise_type"], float(row["noise_rate"]) if row["noise_rate"] else None)


def cells(method: str, paper: str | None = None) -> list[tuple[str, str, float]]:
    """The (dataset, noise, rate) for which `paper` states settings of `method`; rates as fractions.

    Labels as the data set brings them (WebVision, Clothing1M) are ("webvision", "none", 0.0).
    paper: None = the first of the published ones, whose tables have the baselines' settings.
    Raises ValueError for an unknown paper.
    """
    paper = paper or papers()[0]
    tables(paper)
    all_rows = _settings_of(paper, method)
    rows = [r for r in all_rows if r["method"] == method]
    shared = {(r["dataset"], r["noise_type"]) for r in all_rows if r["method"] == "all"}
    listed: set[tuple[str, str, float]] = {(r["dataset"], *_key(r)) for r in rows if r["noise_type"] != "any"}
    specific, general = {c[0] for c in listed}, {r["dataset"] for r in rows if r["noise_type"] == "any"}
    # Settings for "any" noise belong to the cells whose results are printed, and so does the cell without
    # noise where a method's settings are given for others.
    for r in results():
        if r["paper"] == paper and r["method"] == method and r["noise"] and r["table"] != "text":
            stated = r["noise"] == "none" if r["dataset"] in specific else r["dataset"] in general
            if stated:
                listed.add((r["dataset"], *noise_key(str(r["noise"]), r["rate"])))
        # So do settings for all methods, of a set that a method was trained on whose own settings, given for
        # other sets, are not given there (GJS on WebVision).
        if r["paper"] == paper and r["method"] == method and rows and (r["dataset"], r["noise"]) in shared:
            listed.add((r["dataset"], *noise_key(str(r["noise"]), r["rate"])))
    return sorted(listed)


def paper_settings(
    method: str, dataset: str, noise: str, rate: float | None, paper: str | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Exactly one cell's hyper-parameters: (name -> value, names that the paper does not give).

    Rows for all methods come first, then the method's own, the most specific last. Names and values are the
    paper's except `gamma` and `milestones`, a tuple of fractions of the epochs. Where learning rate and
    weight decay are not given without noise, they are those of the symmetric cells, still named not given.
    Raises ValueError where the paper has no such cell, with the list of those that exist.
    """
    paper, wanted = paper or papers()[0], noise_key(noise, rate)
    exist = cells(method, paper)
    if (dataset, *wanted) not in exist:
        listed = "; ".join(f"{d} {n} {r:g}" for d, n, r in exist)
        raise ValueError(
            f"{paper} has no settings for {method} on {dataset} at {noise} {wanted[1]:g}: "
            + (f"there are {listed}" if exist else f"it gives none for {method} at all")
        )
    rows = [r for r in _settings_of(paper, method) if r["dataset"] == dataset]
    chosen = [r for r in rows if r["noise_type"] == "any" and not r["noise_rate"]]
    chosen += [r for r in rows if r["noise_type"] != "any" and _key(r) == wanted]
    # A method's own row beats one for all methods, and a cell's row beats one for any noise.
    chosen.sort(key=lambda r: (r["method"] != "all", r["noise_type"] != "any"))
    raw = {name(r["name"], paper): r["value"] for r in chosen}
    not_given = [n for n, v in raw.items() if v == "not given"]
    values = {n: parse(v) for n, v in raw.items() if v != "not given"}
    if not any(r["method"] == method for r in rows):  # what it states for other sets it does not state here
        own = [name(r["name"], paper) for r in _settings_of(paper, method) if r["method"] == method]
        not_given += sorted(set(own) - set(raw))
    if wanted[0] == "none":
        for field in ("learning_rate", "weight_decay"):
            symmetric = {r["value"] for r in rows if r["name"] == field and r["noise_type"] == "symmetric"}
            if field not in values and len(symmetric) == 1:
                values[field] = parse(symmetric.pop())
                not_given = list(dict.fromkeys([*not_given, field]))
    if str(values.get("schedule", "")).startswith("cosine"):
        values["schedule"] = "cosine"
    fractions, epochs = values.pop("lr_milestones_fraction", None), values.pop("lr_milestones_epochs", None)
    every, after = values.pop("lr_decay_every_epochs", None), values.pop("lr_decay_after_epoch", None)
    if every:  # the first drop comes as the stated epoch ends
        epochs, values["gamma"] = tuple(range(after, values["epochs"], every)), values.pop("lr_decay_factor")
    if epochs and not fractions:
        fractions = tuple(e / values["epochs"] for e in (epochs if isinstance(epochs, tuple) else (epochs,)))
    if fractions:
        values["milestones"] = fractions
    return values, not_given
