"""Calibration of voice identity (§38.1): trials become thresholds, and thresholds a signed, versioned pack.

It measures and fits; it never decides about a speaker, and it claims nothing outside the cohort that it was given.
"""
