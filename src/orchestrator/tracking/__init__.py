"""The only MLflow, a projection of the store."""
