"""Whether a lower precision pays off: accuracy, memory, speed and price of one model in several precisions."""
