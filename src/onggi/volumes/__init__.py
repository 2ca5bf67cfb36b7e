"""Volumes and mount specifications."""
