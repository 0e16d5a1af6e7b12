"""What leaves the driver as words: paths for others to read, text for a terminal, and the streams that carry it."""
