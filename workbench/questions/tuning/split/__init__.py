"""Whether prefill and decode on devices of their own serve more requests within the SLO, simulated with the transfer of the cache."""
