"""Attention over long contexts: every technique behind one signature, each proved against a dense reference."""
