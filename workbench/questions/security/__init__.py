"""How the service is protected: what of personal data and secrets is redacted, and what stands against which threat."""
