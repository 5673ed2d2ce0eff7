"""Cases of the contract, through every client."""
