"""What can be wrong with the messages of an audio stream, refused alike by every owner."""

from __future__ import annotations

from selene.common.v1 import audio_pb2
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.audio.decode import AudioError
from servers.runtime.errors import Refusal


class FrameOrder:
    """Frames come with sequences from a start, without gaps."""

    def __init__(self, following: int) -> None:
        self.following = following

    def admit(self, frame: audio_pb2.AudioFrame) -> None:
        """Refuses with STREAM_SEQUENCE_BROKEN."""
        if frame.sequence != self.following:
            raise Refusal(
                reasons.ERROR_REASON_STREAM_SEQUENCE_BROKEN,
                "a frame is missing, repeated or out of order",
                expected=str(self.following),
                received=str(frame.sequence),
            )
        self.following += 1


def undecodable(error: AudioError, sequence: int) -> Refusal:
    """AUDIO_UNDECODABLE for bytes that are not what the config said."""
    return Refusal(
        reasons.ERROR_REASON_AUDIO_UNDECODABLE, str(error), cause=error.reason, sequence=str(max(0, sequence))
    )


def config_expected(index: int) -> Refusal:
    """STREAM_CONFIG_EXPECTED for a stream that begins with a frame, or has a second config."""
    return Refusal(
        reasons.ERROR_REASON_STREAM_CONFIG_EXPECTED,
        "the first message, and only the first, is the config",
        message_index=str(index),
    )


def too_long(max_s: float) -> Refusal:
    """STREAM_TOO_LONG."""
    return Refusal(reasons.ERROR_REASON_STREAM_TOO_LONG, "this is more audio than one utterance", max_s=f"{max_s:g}")
