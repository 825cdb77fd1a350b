"""Numerical kernels on plain arrays: no classes, no files."""
