"""Recipes that chain the stages, and their reports."""
