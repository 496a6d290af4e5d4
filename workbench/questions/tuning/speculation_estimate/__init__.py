"""What speculative decoding would gain on a device that is not here, for a given acceptance rate."""
