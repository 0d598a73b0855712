"""Files of weights: names, precision, strict reading."""
