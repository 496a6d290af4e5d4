"""One command per question, printing JSON on request."""
