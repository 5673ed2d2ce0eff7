"""What the delivery owner keeps (§25). `store.delivery` reads; `tx.delivery` reads and writes within a transaction.

A delivery is a row with the state machine's value as JSON beside what is searched for: its state, when it is due, who
holds it. The store knows nothing of the machine but that UNKNOWN deliveries wait in a queue of their own.

A lease is the right to work on a delivery for a while. Each has a fencing token, higher than every earlier one of that
delivery: whoever comes back after its lease went to somebody else can change nothing any more. While a delivery is
leased, no other one of the same `recipient_lock` is.
"""

from __future__ import annotations

from store.delivery.reading import DeliveryReader
from store.delivery.row import (
    Accepted,
    Change,
    ContentChanged,
    Delivery,
    Depth,
    Event,
    NewDelivery,
    ProviderId,
    Standing,
    Swap,
    subject_of,
)
from store.delivery.writing import Deliveries

__all__ = [
    "Accepted",
    "Change",
    "ContentChanged",
    "Deliveries",
    "Delivery",
    "DeliveryReader",
    "Depth",
    "Event",
    "NewDelivery",
    "ProviderId",
    "Standing",
    "Swap",
    "subject_of",
]
