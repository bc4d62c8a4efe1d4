"""Networks that learn a distance between images: Siamese, and learners from a few examples."""
