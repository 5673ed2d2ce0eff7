"""What learning can bear: signals it takes on, gold it validates, closures, activations, proofs of what happened."""
