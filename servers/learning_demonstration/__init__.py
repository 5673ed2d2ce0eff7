"""`make demo-learning`: from corrections of misheard speakers to a threshold pack that goes live, and back.

Time and scores are simulated, traffic is replayed; owners, channels, store, signatures and control loops are those that
`selene up` runs.
"""
