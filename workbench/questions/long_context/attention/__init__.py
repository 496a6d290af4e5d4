"""Which attention for which length: techniques timed with a model's heads."""
