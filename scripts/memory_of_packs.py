"""What packs were estimated to take of memory beside what they took: `python scripts/memory_of_packs.py results/*-quick`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from trainatlas.cluster import MEMORY_MARGIN
from trainatlas.costs import measured_mebibytes, mebibytes
from trainatlas.study.errors import UserError
from trainatlas.study.planning import pack_path, read_pack


def main(folders: list[Path]) -> None:
    """Print a line for each trained pack of these results, and how far estimates were off."""
    ratios = []
    print(f"{'study':32} {'pack':14} measured estimated ratio")
    for results in folders:
        for raw in sorted((results / "raw").glob("*/")):
            measured = measured_mebibytes(raw)
            try:
                pack = read_pack(pack_path(results, raw.name))
            except UserError:
                continue
            if measured:
                estimated = max(mebibytes(stack, pack.folder) for stack in pack.stacks)
                ratios.append(estimated / measured)
                print(f"{results.name:32} {raw.name:14} {measured:8,.0f} {estimated:9,.0f} {ratios[-1]:5.2f}")
    if ratios:
        least, tenth, middle, most = np.quantile(ratios, [0, 0.1, 0.5, 1])
        enough = np.mean(np.array(ratios) * MEMORY_MARGIN >= 1)
        print(
            f"{len(ratios)} packs: estimated over measured {least:.2f} to {most:.2f}, median {middle:.2f}, a tenth below "
            f"{tenth:.2f}; {enough:.0%} fit into {MEMORY_MARGIN} times the estimate"
        )


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
