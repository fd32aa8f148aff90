"""Decide which episodes run, where and when. This package knows neither LIBERO nor models nor sockets."""
