"""Benchmarks of the demonstration: how long it takes once everything is there, and where nothing is there yet."""
