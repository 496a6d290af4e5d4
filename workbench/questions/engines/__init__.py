"""Which serving engine fits a load: engines under growing request rates, judged by an SLO."""
