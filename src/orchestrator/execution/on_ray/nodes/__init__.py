"""The nodes of the connected cluster: what has room, and what an autoscaler is asked to bring."""
