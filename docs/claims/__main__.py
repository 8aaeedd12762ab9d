"""Print the page of claims: `python -m docs.claims [FILE]`; without a file, `docs/measured/claims.yml`."""

import sys
from pathlib import Path

from docs.claims.judging import MalformedClaims, claims_page, judge_claims
from peft_registry.schemas.errors import KnownError

KEPT = Path(__file__).resolve().parent.parent / "measured" / "claims.yml"


def main(arguments: list[str]) -> int:
    """Print the page; the exit code is 1 if the file cannot be judged."""
    if len(arguments) > 1:
        sys.stderr.write("usage: python -m docs.claims [FILE]\n")
        return 2
    path = Path(arguments[0]) if arguments else KEPT
    try:
        page = claims_page(judge_claims(path))
    except (KnownError, MalformedClaims) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
