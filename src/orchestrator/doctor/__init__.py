"""`sweep doctor`: whether a launch would work here, check by check."""
