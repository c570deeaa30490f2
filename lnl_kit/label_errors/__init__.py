"""Finding label errors: search, ranking, estimates, findings, review, decisions, corrected labels."""
