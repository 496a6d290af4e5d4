"""What a machine did over days, from a history of samples on disk."""
