"""Delivery writes in batches as other owners do."""

from servers.runtime.batches import Batches

__all__ = ["Batches"]
