"""Microscopes and cameras behind one controller (planned: see the issues)."""
