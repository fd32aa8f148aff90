"""Which episodes run, where and when; knows neither LIBERO nor a model nor a socket."""
