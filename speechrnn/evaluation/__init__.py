"""How good is a model? Labelled clips and streams, what is counted in them, in tables and as JSON. Numpy alone."""
