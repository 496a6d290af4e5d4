"""What measurements put around a server: proxies that lose packets, burdens on a machine, mock servers and served gateways."""
