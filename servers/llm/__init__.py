"""Language understanding (PH1.D): a boundary that proposes, and never decides or acts (§22).

What a provider says of an utterance is a packet that others check; without a valid packet there is no proposal.
"""

NAME = "llm"
ENGINE_ID = "PH1.D"
