"""`lnl bench`: how close the loop comes to what the hardware allows, and comparisons with other libraries."""
