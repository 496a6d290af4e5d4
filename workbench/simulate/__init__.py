"""A day of traffic in a second: an engine that is stepped with predicted times."""
