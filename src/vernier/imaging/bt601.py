"""ITU-R BT.601 in numbers, free of torch: 8-bit studio range, as the papers use it."""

# Rows give Y, Cb, Cr for R, G, B in [0, 1].
RGB_TO_YCBCR = (
    (65.481, 128.553, 24.966),
    (-37.797, -74.203, 112.0),
    (112.0, -93.786, -18.214),
)
YCBCR_OFFSET = (16.0, 128.0, 128.0)
