"""Published facts with their sources: models, hardware, prices, engines and the claims to be tested."""
