"""House numbers: the type, the readers, and images for networks."""
