"""What voice identity keeps. `store.voiceid` reads; `tx.voiceid` reads and writes within a transaction.

Rooms: `enrollments`, `profiles` (and the gallery), `devices`, `prompts` (ask-once, conflict retries), `reenrollments`
(whom drift asks to enrol again), `streams` (decisions and who it really was), `observations` (what they add to KPI
windows), `fingerprints` (replay), `erasures` (what a revocation leaves of all of it).
"""

from __future__ import annotations

from store.access import Reads, Writes
from store.vault import Vault, VaultReader
from store.voiceid.device import Devices, DevicesReader
from store.voiceid.enrollment import Clip, Enrollment, Enrollments, EnrollmentsReader, Progress
from store.voiceid.erasure import ErasedVoice, Erasures
from store.voiceid.fingerprint import Fingerprints, FingerprintsReader
from store.voiceid.observation import Observation, Observations, ObservationsReader, Taken
from store.voiceid.profile import GalleryEntry, Profile, Profiles, ProfilesReader
from store.voiceid.prompt import Prompts, PromptsReader
from store.voiceid.reenrollment import Asked, ReEnrollments, ReEnrollmentsReader
from store.voiceid.stream import DecidedStream, Kept, Streams, StreamsReader

__all__ = [
    "Asked",
    "Clip",
    "DecidedStream",
    "Enrollment",
    "ErasedVoice",
    "GalleryEntry",
    "Kept",
    "Observation",
    "Profile",
    "Progress",
    "Taken",
    "VoiceId",
    "VoiceIdReader",
]


class VoiceIdReader:
    """The reading side."""

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self.enrollments = EnrollmentsReader(reads, vault)
        self.profiles = ProfilesReader(reads, vault)
        self.devices = DevicesReader(reads)
        self.prompts = PromptsReader(reads)
        self.reenrollments = ReEnrollmentsReader(reads)
        self.streams = StreamsReader(reads)
        self.observations = ObservationsReader(reads)
        self.fingerprints = FingerprintsReader(reads, vault)


class VoiceId:
    """The writing side, within one transaction."""

    def __init__(self, writes: Writes, vault: Vault) -> None:
        self.enrollments = Enrollments(writes, vault)
        self.profiles = Profiles(writes, vault)
        self.devices = Devices(writes)
        self.prompts = Prompts(writes)
        self.reenrollments = ReEnrollments(writes)
        self.streams = Streams(writes)
        self.observations = Observations(writes)
        self.fingerprints = Fingerprints(writes, vault)
        self.erasures = Erasures(writes, vault, self.profiles)
