"""Street signs: the type, the readers, and images for networks."""
