"""`lnl doctor`: what this machine has for the kit, and what is missing."""
