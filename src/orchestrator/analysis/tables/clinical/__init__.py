"""What a clinic asks of a study: invalid outputs, thresholds, calibration, groups of people."""
