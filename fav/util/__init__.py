"""General functions: read and write files, encode images, hash inputs, format numbers."""
