"""Text to speech (PH1.TTS): the authoritative playback, by whichever provider its router picks.

It says what it is given and nothing else; it never decides what to say (§22).
"""

NAME = "tts"
ENGINE_ID = "PH1.TTS"
