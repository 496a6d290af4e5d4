"""What traffic does to engines behind a router, simulated."""
