"""Every method: name -> (train function, settings class). Adding one = one file and one line here.

What else the kit wants to know of a method (family, number of networks, colour, paper) stands in its settings
class; the tables below are made from it.
"""

from __future__ import annotations

import types
from collections.abc import Callable

from ..run.settings import Settings
from . import (
    co_teaching,
    correction,
    dividemix,
    elr,
    flywheel,
    joint_optimization,
    label_confidence,
    linear_probe,
    loss_only,
    m_correction,
    nrd,
    pencil,
    pu_distill,
    robust_features,
    unicon,
)

METHODS: dict[str, tuple[Callable[..., None], type[Settings]]] = {
    "nrd": (nrd.train_nrd, nrd.NRD),
    "pu_distill": (pu_distill.train_pu_distill, pu_distill.PUDistill),
    "label_confidence": (label_confidence.train_label_confidence, label_confidence.LabelConfidence),
    "flywheel": (flywheel.train_flywheel, flywheel.Flywheel),
    "robust_features": (robust_features.train_robust_features, robust_features.RobustFeatures),
    "ce": (loss_only.train_loss_only, loss_only.CrossEntropy),
    "linear_probe": (linear_probe.train_linear_probe, linear_probe.LinearProbe),
    "knn": (linear_probe.train_knn, linear_probe.KNN),
    "mae": (loss_only.train_loss_only, loss_only.MAE),
    "bootstrap_soft": (loss_only.train_loss_only, loss_only.BootstrapSoft),
    "bootstrap_hard": (loss_only.train_loss_only, loss_only.BootstrapHard),
    "label_smoothing": (loss_only.train_loss_only, loss_only.LabelSmoothing),
    "sce": (loss_only.train_loss_only, loss_only.SCE),
    "imae": (loss_only.train_loss_only, loss_only.IMAE),
    "gce": (loss_only.train_loss_only, loss_only.GCE),
    "nce_rce": (loss_only.train_loss_only, loss_only.NCEandRCE),
    "js": (loss_only.train_loss_only, loss_only.JS),
    "gjs": (loss_only.train_loss_only, loss_only.GJS),
    "mixup": (loss_only.train_loss_only, loss_only.Mixup),
    "cores": (loss_only.train_loss_only, loss_only.CORES),
    "elr": (elr.train_elr, elr.ELR),
    "forward": (correction.train_correction, correction.Forward),
    "backward": (correction.train_correction, correction.Backward),
    "joint_optimization": (joint_optimization.train_joint_optimization, joint_optimization.JointOptimization),
    "pencil": (pencil.train_pencil, pencil.Pencil),
    "m_correction": (m_correction.train_m_correction, m_correction.MCorrection),
    "co_teaching": (co_teaching.train_co_teaching, co_teaching.CoTeaching),
    "co_teaching_plus": (co_teaching.train_co_teaching, co_teaching.CoTeachingPlus),
    "jocor": (co_teaching.train_jocor, co_teaching.JoCoR),
    "elr_plus": (elr.train_elr_plus, elr.ELRPlus),
    "dividemix": (dividemix.train_dividemix, dividemix.DivideMix),
    "unicon": (unicon.train_unicon, unicon.Unicon),
}
BASELINE = "ce"  # what the others are compared with: plain cross-entropy


def of_family(family: str) -> tuple[str, ...]:
    """The methods of a family."""
    return tuple(name for name, (_, settings) in METHODS.items() if settings.family == family)


FAMILIES = {f: of_family(f) for f in dict.fromkeys(s.family for _, s in METHODS.values())}
FIVE = FAMILIES["the five papers"]
TWO_NETWORKS = tuple(name for name, (_, settings) in METHODS.items() if settings.networks == 2)


def family(method: str) -> str:
    """What a method works by, a key of FAMILIES; of a function in a notebook "your own"."""
    return METHODS[method][1].family if method in METHODS else Settings.family


def find_method(
    method: str | Callable, settings_class: type[Settings] = Settings
) -> tuple[str, Callable, type[Settings]]:
    """(name, train function, settings class) of a built-in name or of a function of one's own.

    Raises ValueError for a name that does not exist, and for a built-in function passed as one's own.
    """
    if isinstance(method, types.FunctionType):
        if any(method is known for known, _ in METHODS.values()) and settings_class is Settings:
            raise ValueError(
                f"{method.__name__} is built in: ask for it by its name, one of {', '.join(METHODS)}"
            )
        return method.__name__.removeprefix("train_"), method, settings_class
    if method not in METHODS:
        raise ValueError(f"method {method!r} does not exist: {', '.join(METHODS)}")
    return method, *METHODS[method]
