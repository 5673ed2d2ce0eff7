"""`make demo-learning`: from corrections of misheard speakers to a threshold pack that goes live, and back.

Time is simulated, and so are the scores; owners, channels, store, signatures and control loops are those that
`selene up` runs.
"""
