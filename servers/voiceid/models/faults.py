"""Why a model cannot be had. Every refusal of this package is a ``ModelError`` with one of these reasons."""

from enum import StrEnum


class ModelFault(StrEnum):
    """Stable reasons; callers fail closed on any of them."""

    DOWNLOAD_FAILED = "DOWNLOAD_FAILED"
    CHECKPOINT_REFUSED = "CHECKPOINT_REFUSED"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MODEL_MISSING = "MODEL_MISSING"
    MODEL_CORRUPT = "MODEL_CORRUPT"
    GOLDEN_MISMATCH = "GOLDEN_MISMATCH"


class ModelError(Exception):
    """A model was refused. ``reason`` is for programs, the message for the person who runs the server."""

    def __init__(self, reason: ModelFault, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
