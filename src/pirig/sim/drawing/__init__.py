"""How LIBERO scenes are drawn in software, with the same pixels as mjr_render and fewer triangles."""
