"""The method: images in, logits and every intermediate out (section 3)."""
