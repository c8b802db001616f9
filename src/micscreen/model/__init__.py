"""The network: weights and what they expect, back ends that run them, and the training parts."""
