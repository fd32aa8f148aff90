"""Detect what this machine has (GPUs, EGL devices, memory, versions) and divide it among processes.

This package does not know Docker.
"""
