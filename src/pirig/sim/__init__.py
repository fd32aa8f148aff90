"""This package runs LIBERO on robosuite and MuJoCo.

Only `worker` processes import the modules that render.
"""
