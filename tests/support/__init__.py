"""What tests share: recorded runs, tiny checkpoints, peers of the server, readers of pages and documents."""
