"""Run the benchmark's containers with Docker Compose, and decide which one starts next.

This package knows neither policies nor simulators.
"""
