"""OMOP CDM folders."""
