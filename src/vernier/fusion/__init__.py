"""A coarse cube and a sharp guide, made one sharp cube: networks and classical methods."""
