"""What SciPy computes, for arrays of the stand-in."""
