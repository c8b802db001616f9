"""The old weights: MicrographCleaner's Keras models, its windows, and its command line."""
