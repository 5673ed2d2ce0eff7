"""What surrounds every RPC, from outside in: recovery, telemetry, authentication, validation, deadline.

Each layer is one function around one behaviour, the same for all four kinds of RPC. They are composed once per method,
not per call. grpc hands over and takes back bytes, so a request is parsed only after its caller is known.
"""

from servers.runtime.interceptors.authentication import AuthenticationLayer
from servers.runtime.interceptors.chain import Chain, Layer
from servers.runtime.interceptors.deadline import DeadlineLayer
from servers.runtime.interceptors.recovery import RecoveryLayer
from servers.runtime.interceptors.telemetry import TelemetryLayer
from servers.runtime.interceptors.validation import ValidationLayer

__all__ = [
    "AuthenticationLayer",
    "Chain",
    "DeadlineLayer",
    "Layer",
    "RecoveryLayer",
    "TelemetryLayer",
    "ValidationLayer",
]
