"""From tensors to a solver and back: what every layer and loss shares."""
