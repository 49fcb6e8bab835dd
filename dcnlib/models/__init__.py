"""Networks that have a name: the boxes of each task, what a spec builds, trained weights."""
