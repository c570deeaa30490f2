"""One training run: epochs, checkpoints, resume, logging, evaluation, settings, and opening a finished one."""
