"""One folder for each question, with the same files in each; no question imports another."""
