"""P(yes), and the methods that train nothing."""
