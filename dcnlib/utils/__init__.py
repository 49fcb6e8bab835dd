"""Tools that know no image, model or data set."""
