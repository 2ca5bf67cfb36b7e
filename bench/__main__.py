"""Onggi beside real Docker on this machine: `python -m bench [ROW …] [--rounds N]`, as root.

Both engines run at the same time; each row measures them in turn, A B A B …, and prints medians and their ratio.
Needs what `scripts/setup.sh peers` installs. Numbers mean something only on a machine that does nothing else.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from tests.engine import Engine
from tests.images import busybox_archive
from tests.peers import docker_command, peer_socket

from bench.image_rows import stop_registry
from bench.rows import ROWS
from bench.sides import Side


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("row", nargs="*", choices=[[], *ROWS], help="which rows; all by default")
    parser.add_argument(
        "--rounds", type=int, default=0, help="how often each side is measured; by default each row's own"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-") as directory:
        archive = Path(directory) / "busybox.tar"
        busybox_archive(archive, name="busybox:latest")
        with Engine(Path(directory)) as engine:
            onggi = Side("onggi", engine.socket, [str(Path(__file__).parent.parent / "scripts/onggi")], engine.pid)
            docker = Side("docker", peer_socket(), [docker_command()], None)
            for side in (onggi, docker):
                side.stock("load", "-i", str(archive))
            print(f"{'row':<34} {'docker':>12} {'onggi':>12}   {'ratio':>7}   goal")
            missed = []
            for name in arguments.row or ROWS:
                row = ROWS[name]
                rounds = arguments.rounds or row.rounds
                found: dict[str, list[float]] = {"docker": [], "onggi": []}
                row.prepare(docker)
                row.prepare(onggi)
                try:
                    for number in range(rounds + row.warm_up):
                        for side in (docker, onggi):
                            value = row.measure(side)
                            if number >= row.warm_up:
                                found[side.name].append(value)
                finally:
                    row.clean(docker)
                    row.clean(onggi)
                theirs, ours = statistics.median(found["docker"]), statistics.median(found["onggi"])
                ratio = ours / theirs
                met = ratio <= row.goal and (row.limit is None or ours <= row.limit)
                missed += [] if met else [name]
                spread = " ".join(f"{min(values):.1f}–{max(values):.1f}" for values in found.values())
                print(f"{row.title:<34} {theirs:>9.1f} {row.unit:<2} {ours:>9.1f} {row.unit:<2}   1/{1 / ratio:<5.1f}   "
                      f"≤ 1/{1 / row.goal:g}{'' if met else ' MISSED'}   ({spread})", flush=True)  # fmt: skip
    stop_registry()
    if missed:
        print(f"goals missed: {', '.join(missed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
