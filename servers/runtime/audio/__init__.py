"""Audio streams as every owner that listens takes them: decoded, brought to 16 kHz, in order (VID-2, RTE-7)."""
