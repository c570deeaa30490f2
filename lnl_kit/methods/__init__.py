"""Every method: name -> (train function, settings class). Adding one = one file and one line here."""

from . import co_teaching, correction, dividemix, elr, flywheel, joint_optimization, label_confidence, loss_only, m_correction, nrd, pu_distill, robust_features

METHODS = {
    "nrd": (nrd.train_nrd, nrd.NRD),
    "flywheel": (flywheel.train_flywheel, flywheel.Flywheel),
    "pu_distill": (pu_distill.train_pu_distill, pu_distill.PUDistill),
    "label_confidence": (label_confidence.train_label_confidence, label_confidence.LabelConfidence),
    "robust_features": (robust_features.train_robust_features, robust_features.RobustFeatures),
    "dividemix": (dividemix.train_dividemix, dividemix.DivideMix),
    "forward": (correction.train_correction, correction.Forward),
    "backward": (correction.train_correction, correction.Backward),
    "joint_optimization": (joint_optimization.train_joint_optimization, joint_optimization.JointOptimization),
    "m_correction": (m_correction.train_m_correction, m_correction.MCorrection),
    "elr": (elr.train_elr, elr.ELR),
    "co_teaching": (co_teaching.train_co_teaching, co_teaching.CoTeaching),
    "co_teaching_plus": (co_teaching.train_co_teaching, co_teaching.CoTeachingPlus),
    "jocor": (co_teaching.train_jocor, co_teaching.JoCoR),
    "ce": (loss_only.train_loss_only, loss_only.CrossEntropy),
    "mae": (loss_only.train_loss_only, loss_only.MAE),
    "bootstrap_soft": (loss_only.train_loss_only, loss_only.BootstrapSoft),
    "bootstrap_hard": (loss_only.train_loss_only, loss_only.BootstrapHard),
    "mixup": (loss_only.train_loss_only, loss_only.Mixup),
    "cores": (loss_only.train_loss_only, loss_only.CORES),
    "label_smoothing": (loss_only.train_loss_only, loss_only.LabelSmoothing),
    "sce": (loss_only.train_loss_only, loss_only.SCE),
    "gce": (loss_only.train_loss_only, loss_only.GCE),
    "nce_rce": (loss_only.train_loss_only, loss_only.NCEandRCE),
    "js": (loss_only.train_loss_only, loss_only.JS),
    "gjs": (loss_only.train_loss_only, loss_only.GJS),
}
