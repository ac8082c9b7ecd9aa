"""Losses, the training loops, and what every loop shares."""
