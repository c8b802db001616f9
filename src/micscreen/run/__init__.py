"""Runs: the job folder, the engines, and the one loop for batch and stream."""
