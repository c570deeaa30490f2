"""`lnl reproduce`: notebooks executed headlessly, and pages of their figures."""
