"""π0 and π0.5: sizes, weights, mathematics. Knows no files, no transforms, no LIBERO."""
