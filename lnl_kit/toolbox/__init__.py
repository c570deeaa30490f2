"""Parts of methods: losses, networks, augmentations, mixtures, metrics, random numbers. Knows no run."""
