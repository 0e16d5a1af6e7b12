"""Inputs once a store."""
