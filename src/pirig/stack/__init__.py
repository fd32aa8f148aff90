"""Docker Compose and its containers: what runs, and what is started next. Knows no policy and no simulator."""
