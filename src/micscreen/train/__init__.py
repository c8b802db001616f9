"""Training of the network, from the simulator to the file that ships; see `__main__`."""
