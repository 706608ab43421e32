"""Worked examples of the library; each folder has its own README."""
