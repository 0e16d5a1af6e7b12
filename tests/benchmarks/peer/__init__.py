"""The same sweep by plain libraries: what `against_peer.py` holds the product against."""
