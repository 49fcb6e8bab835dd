"""RAM, DRAW, perturbed top-k and soft attention: the same contract, another attention."""
