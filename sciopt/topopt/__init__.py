"""Topology optimization on regular grids."""
