"""Measurements side by side with real Docker."""
