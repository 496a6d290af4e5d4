"""Trains the networks of ``data/models/digits-image-text``: about a minute on two cores.

python data/models/training/digits_fusion.py
"""

from workbench.vision.digits import digits
from workbench.vision.fused_graphs import SHIPPED, file_name, save_network
from workbench.vision.fusion import DROPOUT, train_fused
from workbench.vision.fusions import FUSIONS


def main() -> None:
    """Each fusion with and without dropped modalities, from seed 0."""
    SHIPPED.mkdir(parents=True, exist_ok=True)
    for kind in FUSIONS:
        for dropout in (0.0, DROPOUT):
            net = train_fused(kind, digits().train, dropout=dropout, seed=0)
            save_network(net, SHIPPED / file_name(kind, has_dropout=dropout > 0))


if __name__ == "__main__":
    main()
