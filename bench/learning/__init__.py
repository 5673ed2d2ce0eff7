"""What learning can bear: how many signals it takes on, and how long gold takes to validate."""
