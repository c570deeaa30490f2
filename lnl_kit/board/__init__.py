"""`lnl board`: leaderboard and curves of a root of runs, as one page that renews itself."""
