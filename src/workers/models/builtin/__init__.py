"""Bases that this project builds and pre-trains itself, so that a study runs where nothing can be fetched."""
