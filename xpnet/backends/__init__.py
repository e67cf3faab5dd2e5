"""The seam between xpnet and the array libraries: dispatch, what a backend is, and one file for each library."""
