"""How the columns of somebody's table become events, labels and splits."""

from workers.contract.recipe import Recipe


class TableMapping(Recipe):
    """Which column is what in a long or a wide table."""

    id: str
