"""Measurements of gra against what it replaces: ``make bench``, ``python -m tests.benchmarks``."""
