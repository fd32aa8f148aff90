"""This package draws LIBERO scenes in software, with the same pixels as mjr_render and fewer triangles."""
