"""Results handed to other tools: programs and weights of runs, findings, and decisions that come back."""
