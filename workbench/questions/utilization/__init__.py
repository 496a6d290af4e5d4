"""Why a GPU does less than it could: where its time goes, the batch and the techniques that fill it, and days of samples."""
