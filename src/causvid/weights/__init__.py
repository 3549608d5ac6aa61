"""Weights of other programs, and files."""
