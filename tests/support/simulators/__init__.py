"""Vendors' services, simulated over real sockets in their own wire formats: the only test doubles there are."""
