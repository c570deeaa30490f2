"""Figures: tidy inputs in, plotly Figures out, all in the template "lnl".

The background is transparent and every colour lies in the middle of the brightness scale, so that one figure
reads on white paper and in a dark notebook. Seen (trained on) is red, unseen (vicinal) is blue, as in the NRD
paper. Arrays are numpy; probs (..., K) softmax outputs; rates, accuracies and confidences are fractions,
drawn as percent.
"""

from .boards import NAMES, by_rate, cost, last_against_best, ranking
from .charts import bars, calibration, curves, reliability
from .decagons import decagon, decagon_slider, equiradial
from .epochs import by_epoch
from .errors import suspicion_histogram
from .histograms import memorization_histogram, score_slider
from .lab import (
    class_counts,
    gap,
    gon,
    lab_accuracy,
    lab_confusion,
    lab_curves,
    lab_decagon,
    lab_histogram,
    lab_reliability,
    label_wall,
    nothing,
    open_counts,
    opinion,
    split_histogram,
)
from .ranks import critical_difference
from .style import hover, plain, save_png, save_pngs
from .tables import beside_table, table_of
from .transitions import transition_heatmap, transition_pairs
from .views import embedding, image_row

__all__ = [
    "NAMES",
    "bars",
    "beside_table",
    "by_epoch",
    "by_rate",
    "calibration",
    "class_counts",
    "cost",
    "critical_difference",
    "curves",
    "decagon",
    "decagon_slider",
    "embedding",
    "equiradial",
    "gap",
    "gon",
    "hover",
    "image_row",
    "lab_accuracy",
    "lab_confusion",
    "lab_curves",
    "lab_decagon",
    "lab_histogram",
    "lab_reliability",
    "label_wall",
    "last_against_best",
    "memorization_histogram",
    "nothing",
    "open_counts",
    "opinion",
    "plain",
    "ranking",
    "reliability",
    "save_png",
    "save_pngs",
    "score_slider",
    "split_histogram",
    "suspicion_histogram",
    "table_of",
    "transition_heatmap",
    "transition_pairs",
]
