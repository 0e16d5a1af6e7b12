"""Several hosts on one machine, and what runs on them."""
