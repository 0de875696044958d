"""Engines that take pictures: pixels in, pixels out, the network inside."""
