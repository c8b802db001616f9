"""The local web application for looking at a job and deciding about it."""
