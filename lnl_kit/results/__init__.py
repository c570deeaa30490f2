"""What was measured and is kept, and the leaderboard made from it."""
