"""One training run: epochs, checkpoints, resume, evaluation, settings, and opening a finished one."""
