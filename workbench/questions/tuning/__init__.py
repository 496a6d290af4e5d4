"""The question which server flags, and which other means, are best for the reader's load."""
