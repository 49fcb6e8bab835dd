"""Where images and labels come from. Knows no network."""
