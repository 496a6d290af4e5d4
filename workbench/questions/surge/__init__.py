"""What a surge of requests does to a server, and which controls in front of it help."""
