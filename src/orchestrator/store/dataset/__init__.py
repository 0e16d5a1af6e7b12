"""The dataset: what is committed as tables, and SQL over them."""
