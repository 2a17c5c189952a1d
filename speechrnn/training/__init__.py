"""The torch side: front end, network, data, augmentation, training. Needs `pip install '.[train]'`."""
