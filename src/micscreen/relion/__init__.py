"""`relion_micscreen`: an External job of RELION."""
