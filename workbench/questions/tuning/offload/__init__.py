"""Whether a prefix cache that goes on in the host's memory pays: reuse of a trace, and loading against computing again."""
