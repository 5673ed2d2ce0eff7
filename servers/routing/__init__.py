"""What the routing owners share (§22-§24, §27): the rules by which a provider is chosen, dropped and taken back.

Nothing in here knows an owner. Times are seconds since the epoch, latencies milliseconds, rates basis points.
"""
