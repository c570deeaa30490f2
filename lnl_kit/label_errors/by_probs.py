"""Labels of anything, a table's or texts', judged by out-of-sample probabilities of any classifier."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import heads
from .estimates import with_odds
from .evidence import read_probs
from .ranking import ranked


def rank_labels(probs, given, classes=None) -> pd.DataFrame:
    """Every row with the suspicion that its label is wrong, most suspicious first: what `find_errors` does,
    for data that are no images.

    probs (N, K): out-of-sample probabilities, such as of scikit-learn's `cross_val_predict(...,
    method="predict_proba")`, or a file (see `find_errors`). given (N,): labels, of which the sorted distinct
    ones are the K classes; classes: those in the order of the columns instead. Columns: rank, index, given,
    suggested, suspicion. `attrs` has `estimated_errors` and `estimated_errors_interval`. Raises ValueError
    with one sentence.
    """
    labels = np.asarray(given)
    names = list(np.unique(labels)) if classes is None else list(classes)
    number = {name: k for k, name in enumerate(names)}
    strange = [label for label in labels.tolist() if label not in number]
    if strange:
        raise ValueError(
            f"{len(strange)} labels are none of the {len(names)} classes, such as {strange[0]!r}"
        )
    y = np.array([number[label] for label in labels.tolist()], dtype=np.int64)
    p = read_probs(probs, len(y), names)
    posterior = heads.posterior_of(p, y)
    found = with_odds(p, posterior, heads.log_odds(p, posterior, y), y)
    table = ranked(np.arange(len(y)), y, found.suspicion, found.posterior, names)
    table = table.rename(columns={"image": "index"})[["rank", "index", "given", "suggested", "suspicion"]]
    table.attrs.update(
        estimated_errors=float(found.suspicion.sum()), estimated_errors_interval=found.interval
    )
    return table
