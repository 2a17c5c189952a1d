"""Training in torch: front end, network, data, augmentation, losses. Needs the extra "train"."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m speechrnn.training.average`; for others it would load the command line
    from speechrnn.programs import start_module

    start_module()
