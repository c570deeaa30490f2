"""`lnl bench`: how close the loop comes to what the hardware allows; the measurements beside other libraries."""
