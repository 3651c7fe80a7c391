"""Reaction paths: the nudged elastic band, who evaluates it, and what is claimed about it."""
