"""One training run: epochs, checkpoints, resume, logging, evaluation, settings; opening a finished one."""
