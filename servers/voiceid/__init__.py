"""Voice identity (PH1.VOICE.ID): decides who is speaking over a stream of audio, and says UNKNOWN whenever it cannot."""
