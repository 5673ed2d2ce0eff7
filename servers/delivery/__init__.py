"""Delivery (PH1.DELIVERY): sends what others decided to send, over the provider that its router picks.

It never sends twice what a provider may have taken, and never forgets what it accepted (§25).
"""

NAME = "delivery"
ENGINE_ID = "PH1.DELIVERY"
