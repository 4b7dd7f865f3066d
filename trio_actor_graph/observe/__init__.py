"""Readers of a run: they watch, tell people, and can change nothing.

What is here uses the public names of handles and coordinator only, and is imported neither by them
nor by workers.
"""
