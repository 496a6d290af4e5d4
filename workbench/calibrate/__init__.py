"""Times of products, steps and links of a device, which several questions and the estimator stand on."""
