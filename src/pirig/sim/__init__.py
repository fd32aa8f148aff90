"""LIBERO on robosuite and MuJoCo. Only `worker` processes import the parts that render."""
