"""What delivery can bear: how many intents it accepts, how fast it sends them, and that no provider gets one twice."""
