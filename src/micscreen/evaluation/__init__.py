"""`micscreen evaluate`: a network on one's own labelled micrographs."""
