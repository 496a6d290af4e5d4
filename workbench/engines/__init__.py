"""Serving engines behind one protocol: in this process, as a managed server, or at a URL."""
