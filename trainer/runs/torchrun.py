"""torchrun as `registry train --nproc` starts it: who failed is one line, in place of a traceback through torch's launcher."""

import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun


def main() -> None:
    """Be torchrun, with its own words on the command line."""
    try:
        torchrun()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = f"killed by {failure.signal_name()}" if failure.exitcode < 0 else f"ended with {failure.exitcode}"
        sys.stderr.write(f"process {rank} was the first to fail: {how}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
