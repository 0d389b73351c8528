"""Data sets, splits and preprocessing: numpy in, numpy out."""
