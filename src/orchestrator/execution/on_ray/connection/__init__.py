"""The connection to Ray: to the head of a cluster that runs, or to a local one that a launch starts and ends."""
