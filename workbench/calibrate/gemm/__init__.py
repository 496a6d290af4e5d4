"""The products inside a model, by format and number of tokens."""
