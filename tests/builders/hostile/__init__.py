"""The hostile corpus: what somebody might hand to a command, made by code, with the exit code that it must end with.

Each case takes a fresh copy of something valid, spoils one thing in it, and gives the command line to run. Twelve classes; the
codes are those of the table in `docs/reference/errors.md`: 2 for what is offered for intake or typed, 5 for what could not be
checked, 6 for what is wrong in what was presented. Verifying never ends with 2 for the content of what it looks at.
"""

from tests.builders.hostile.bundles import bundles
from tests.builders.hostile.envelopes import envelopes, statements
from tests.builders.hostile.irregular_files import files
from tests.builders.hostile.key_files import keys
from tests.builders.hostile.log_proofs import checkpoints, proofs
from tests.builders.hostile.manifests import manifests
from tests.builders.hostile.offered_json import offered_json
from tests.builders.hostile.place import Case
from tests.builders.hostile.trust_files import trust_files
from tests.builders.hostile.typed_names import typed_names
from tests.builders.hostile.weights import weights


def corpus() -> tuple[Case, ...]:
    makers = (
        trust_files,
        proofs,
        checkpoints,
        envelopes,
        statements,
        bundles,
        manifests,
        weights,
        offered_json,
        typed_names,
        files,
        keys,
    )
    return tuple(case for make in makers for case in make())
