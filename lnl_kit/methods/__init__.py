"""Every method: name -> (train function, settings class). Adding one = one file and one line here."""

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

METHODS = {
    "nrd": (nrd.train_nrd, nrd.NRD),
    "flywheel": (flywheel.train_flywheel, flywheel.Flywheel),
    "pu_distill": (pu_distill.train_pu_distill, pu_distill.PUDistill),
    "label_confidence": (label_confidence.train_label_confidence, label_confidence.LabelConfidence),
    "robust_features": (robust_features.train_robust_features, robust_features.RobustFeatures),
    "dividemix": (dividemix.train_dividemix, dividemix.DivideMix),
    "unicon": (unicon.train_unicon, unicon.Unicon),
    "forward": (correction.train_correction, correction.Forward),
    "backward": (correction.train_correction, correction.Backward),
    "joint_optimization": (joint_optimization.train_joint_optimization, joint_optimization.JointOptimization),
    "pencil": (pencil.train_pencil, pencil.Pencil),
    "m_correction": (m_correction.train_m_correction, m_correction.MCorrection),
    "elr": (elr.train_elr, elr.ELR),
    "elr_plus": (elr.train_elr_plus, elr.ELRPlus),
    "co_teaching": (co_teaching.train_co_teaching, co_teaching.CoTeaching),
    "co_teaching_plus": (co_teaching.train_co_teaching, co_teaching.CoTeachingPlus),
    "jocor": (co_teaching.train_jocor, co_teaching.JoCoR),
    "linear_probe": (linear_probe.train_linear_probe, linear_probe.LinearProbe),
    "knn": (linear_probe.train_knn, linear_probe.KNN),
    "ce": (loss_only.train_loss_only, loss_only.CrossEntropy),
    "mae": (loss_only.train_loss_only, loss_only.MAE),
    "bootstrap_soft": (loss_only.train_loss_only, loss_only.BootstrapSoft),
    "bootstrap_hard": (loss_only.train_loss_only, loss_only.BootstrapHard),
    "mixup": (loss_only.train_loss_only, loss_only.Mixup),
    "cores": (loss_only.train_loss_only, loss_only.CORES),
    "label_smoothing": (loss_only.train_loss_only, loss_only.LabelSmoothing),
    "sce": (loss_only.train_loss_only, loss_only.SCE),
    "imae": (loss_only.train_loss_only, loss_only.IMAE),
    "gce": (loss_only.train_loss_only, loss_only.GCE),
    "nce_rce": (loss_only.train_loss_only, loss_only.NCEandRCE),
    "js": (loss_only.train_loss_only, loss_only.JS),
    "gjs": (loss_only.train_loss_only, loss_only.GJS),
}


PAPER_OF = {
    "nrd": "nrd",
    "flywheel": "flywheel",
    "dividemix": "flywheel",
    "label_confidence": "label_confidence",
    "robust_features": "robust_features",
    "pu_distill": "pu_distill",
}  # a method's own paper; a baseline's cells are those of NRD's Table 5
FIVE = ("nrd", "pu_distill", "label_confidence", "flywheel", "robust_features")  # the five papers' methods
TWO_NETWORKS = (
    "label_confidence",
    "flywheel",
    "co_teaching",
    "co_teaching_plus",
    "jocor",
    "elr_plus",
    "dividemix",
    "unicon",
)  # trained side by side
FAMILIES = {
    "the five papers": FIVE,
    "a loss": (
        "linear_probe",
        "knn",
        "ce",
        "mae",
        "bootstrap_soft",
        "bootstrap_hard",
        "label_smoothing",
        "sce",
        "imae",
        "gce",
        "nce_rce",
        "js",
        "gjs",
        "mixup",
        "cores",
        "elr",
    ),
    "a transition matrix": ("forward", "backward"),
    "new labels": ("joint_optimization", "pencil", "m_correction"),
    "two networks": ("co_teaching", "co_teaching_plus", "jocor", "elr_plus", "dividemix", "unicon"),
}


def family(method: str) -> str:
    """What a method works by, a key of FAMILIES."""
    return next((name for name, members in FAMILIES.items() if method in members), "your own")
