"""Trials on Ray: the connection, the tasks that prepare, and Ray Tune. Nothing else in the driver imports Ray."""
