"""What all measurements share: their envelope, the parts that are kept, texts, and interleaved timing."""
