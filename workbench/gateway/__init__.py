"""Controls between clients and engines, each usable alone, and the proxy that combines them."""
