"""Speech to text (PH1.C): the authoritative transcript, from whichever provider its router picks.

It never answers, never acts on what was said, and hands on no transcript when a provider fails (§22).
"""

NAME = "stt"
ENGINE_ID = "PH1.C"
