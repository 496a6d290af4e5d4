"""Controls between clients and engines: each usable alone, on an injected clock; and the proxy that puts them together."""
