"""`lnl tune`: settings of a method chosen by the given labels of images held out, never by a true label.

Fair tuning: each trial trains with a share of the training images held out (`noisy_val`), and is judged by
how many of their *given* labels, wrong ones among them, the last epoch's network predicts. What may be
changed, and how far, says the method's own file (`Settings.search`). Optuna (an extra) chooses what to try,
from the trials before it, which are kept: a search that was interrupted, or is asked for more trials, goes on
as if it had not stopped.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..files import RunError, lock, make_folder, read_json, runs_root, save_atomically
from ..methods import find_method
from ..results import measured
from ..results.measured import asked
from ..toolbox.rng import seed_of
from ..train import Plan, train


class Tuned(NamedTuple):
    """What a search found."""

    best: dict[str, Any]  # the settings of the best trial
    value: float  # its accuracy on the given labels of the images held out
    trials: list[dict]  # each with settings, value (None where it failed), seconds, error
    seconds: float  # of all trials


def tune(
    method: str,
    trials: int = 20,
    *,
    noisy_val: float = 0.1,
    search: Mapping[str, tuple | list] | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    **ask: Any,
) -> Tuned:
    """Search for settings of a method by noisy validation; an interrupted search goes on.

    trials: how many in all, those of an earlier call with the same arguments counted. noisy_val: share of the
        training images held out. search: {setting: (low, high), (low, high, "log"), or a list of choices};
        by default the method's own. ask: the other arguments of `train`; settings among them are fixed.
    The first trial is the method as it stands, so that the search cannot end below it. Trials that fail are
    counted. Raises ValueError for what cannot be searched, RunError where every trial failed, ImportError
    without Optuna.
    """
    space = _space(method, search, ask)
    distributions = _distributions(space)
    if trials < 1:
        raise ValueError(f"trials {trials} is not allowed: at least 1")
    if not 0 < noisy_val < 1:
        raise ValueError(f"noisy_val {noisy_val:g} is not allowed: a share inside (0, 1)")
    ask = dict(ask, method=method, noisy_val=noisy_val)
    start = Plan.of(**ask).resolve().settings  # what is wrong with it is said before a trial
    told = json.dumps([asked(ask), space], sort_keys=True)
    folder = runs_root(out) / "tuning" / f"{method}-{seed_of('tune', told) % 2**32:08x}"
    make_folder(folder)
    with lock(folder):
        kept = folder / "trials.json"
        done = _kept(kept)
        while len(done) < trials:
            settings = (
                _next(distributions, done, told) if done else {name: getattr(start, name) for name in space}
            )
            done.append(_trial(ask | settings, settings, out))
            save_atomically(kept, json.dumps(done, indent=1).encode(), durable=True)
            if progress:
                print(line(len(done), done[-1]), file=sys.stderr, flush=True)
    return _found(done[:trials], method)


def _kept(path: Path) -> list[dict]:
    """The trials of an earlier call. Raises RunError for a file that is no such list."""
    try:
        found = read_json(path) if path.exists() else []
        if all(isinstance(t["settings"], dict) and {"value", "seconds", "error"} <= set(t) for t in found):
            return list(found)
    except (ValueError, TypeError, KeyError):
        pass
    raise RunError(f"{path} holds no trials that can be read: move it away, and the search begins anew")


def _space(method: str, search: Mapping | None, ask: Mapping) -> dict[str, tuple | list]:
    """{setting: range or choices} without the settings that the caller fixes."""
    settings_class = find_method(method)[2]
    space = dict(settings_class.search if search is None else search)
    known = {field.name for field in dataclasses.fields(settings_class)}
    if unknown := sorted(set(space) - known):
        raise ValueError(f"{method} has no setting {', '.join(unknown)} to search: lnl train {method} --help")
    space = {name: values for name, values in space.items() if name not in ask}
    if not space:
        raise ValueError(f"nothing is left to search: {method} may vary {', '.join(settings_class.search)}")
    return space


def _distributions(space: Mapping[str, tuple | list]) -> dict:
    """The space as Optuna takes it."""
    try:
        import optuna
    except ImportError:
        raise ImportError("lnl tune needs Optuna, which is not installed: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.distributions
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, values in space.items():
        if isinstance(values, list):
            found[name] = made.CategoricalDistribution(values)
        elif all(isinstance(v, int) for v in values[:2]):
            found[name] = made.IntDistribution(values[0], values[1], log="log" in values)
        else:
            found[name] = made.FloatDistribution(values[0], values[1], log="log" in values)
    return found


def _next(distributions: dict, done: list[dict], told: str) -> dict:
    """Settings to try after these trials: Optuna's tree-structured Parzen estimator, whose draws are those of
    the trial's number, whatever was interrupted before it.
    """
    import optuna

    sampler = optuna.samplers.TPESampler(seed=seed_of("trial", len(done), told) % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    state = optuna.trial.TrialState
    for trial in done:
        inside = {k: v for k, v in trial["settings"].items() if k in distributions}
        try:
            study.add_trial(
                optuna.trial.create_trial(
                    params=inside,
                    distributions=distributions,
                    value=trial["value"],
                    state=state.FAIL if trial["value"] is None else state.COMPLETE,
                )
            )
        except ValueError:  # the method as it stands may lie outside the space
            continue
    return dict(study.ask(distributions).params)


def _trial(ask: dict, settings: dict, out: str | Path | None) -> dict:
    """Train one trial: its settings, value (None where it failed), seconds and error."""
    try:
        run = train(**ask, out=out, progress=False, on_interrupt="raise")
    except RunError as error:
        return {"settings": settings, "value": None, "seconds": 0.0, "error": str(error)}
    summary = run.summary or {}
    seconds = float(summary.get("seconds") or 0) + float(summary.get("stage_seconds") or 0)
    return {
        "settings": settings,
        "value": summary["noisy_val_accuracy_last"],
        "seconds": seconds,
        "error": "",
    }


def line(number: int, trial: dict) -> str:
    """A trial in a line."""
    told = " ".join(
        f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial["settings"].items()
    )
    value = f"failed: {trial['error']}" if trial["value"] is None else f"{trial['value']:.3f}"
    return f"trial {number}: {value}, {trial['seconds']:.0f} s: {told}"


def _found(trials: list[dict], method: str) -> Tuned:
    """The best of the trials, the first of equal ones."""
    good = [trial for trial in trials if trial["value"] is not None]
    if not good:
        raise RunError(f"all {len(trials)} trials of {method} failed, the first: {trials[0]['error']}")
    best = max(good, key=lambda trial: trial["value"])
    return Tuned(best["settings"], best["value"], trials, sum(trial["seconds"] for trial in trials))


def keep(
    found: Tuned, seeds: Sequence[int], csv: str, *, out: str | Path | None = None, **ask: Any
) -> list[dict]:
    """Train the best settings on all images, a run for each seed: its rows, added to a CSV file, marked as
    tuned with what that took.
    """
    rows = []
    for seed in seeds:
        cell = ask | found.best | {"seed": seed}
        run = train(**cell, out=out, progress=False, on_interrupt="raise")
        told = {"trials": len(found.trials), "seconds": round(found.seconds)}
        row = {"asked": asked(cell), "tuned": told, "curves": measured.curves(run.metrics)}
        rows.append((run.summary or {}) | row)
        measured.keep(run.folder, rows[-1], csv)
    return rows
