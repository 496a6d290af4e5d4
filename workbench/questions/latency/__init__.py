"""Why did latency change between two loads? Symptoms, causes with their evidence, and the load that confirms one."""
