"""Whether speculative decoding pays: acceptance, the time of drafts and of their verification, and the break-even batch size."""
