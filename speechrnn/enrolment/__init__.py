"""Own words from a handful of recordings: a linear head on the states of the recurrent layers of a shipped network.

The network stays what it is. `takes` reads recordings, `trunk` gives the network's states for them, `fitting` finds
the weights of a head, `thresholds` says from which posterior on it may fire, `expectation` how many words it then
hears, `graph` writes it into an ONNX file, and `enrol` does all of it.
"""
