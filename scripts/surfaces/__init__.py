"""Paths on cheap potentials: their definitions and the search for their reference saddles."""
