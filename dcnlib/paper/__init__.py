"""This repository's own reproduction: what was run, what came out, what is printed."""
