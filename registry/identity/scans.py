"""What is looked for in the files of a result before it is described and registered. What is found is refused; what did not run is
named as such, so that nothing passes that was never looked at."""

from pathlib import Path, PurePosixPath

from peft_registry.registry.compliance.recorded_result import Scan
from peft_registry.registry.disk.files import read_file
from peft_registry.registry.identity.manifests import WEIGHTS_SUFFIX
from peft_registry.registry.identity.weights import hash_weights
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES, refuse_code
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.registry.intake.pickle import refuse_pickle
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.schemas.codes import code
from peft_registry.schemas.manifest import UNSIGNED_PATHS

# what a training or a merge writes from settings of the user's; a base's own templates are code-like text, full of "token ="
SETTINGS = ("adapter_config.json", "config.json", "generation_config.json", "composition.json")
_NOT_RUN = (
    Scan(name="malware", what=code("scan_of_unknown_code"), ran=False, why=code("no_scanner")),
    Scan(
        name="poisoning",
        what=code("scan_of_planted_behaviour"),
        ran=False,
        why=code("no_test_for_planted_behaviour"),
    ),
)


def scans_of(folder: Path, *, with_values: bool = True) -> tuple[Scan, ...]:
    """The looks that were taken at every file of a result.

    Args:
        folder: the result, as it will be registered.
        with_values: also read every value of the weights; not where whoever wrote them looked at each.

    Raises:
        PickleRefused, CodeRefused, SecretRefused, WeightsNotFinite, UnsafeInputPath, MalformedWeights: something was found.
    """
    files = scan_folder(folder, family="intake", exclude=UNSIGNED_PATHS)
    for file in files:
        refuse_pickle(folder / file.path)
    refuse_code(folder, files)
    settings = [file for file in files if PurePosixPath(file.path).name in SETTINGS]
    for file in settings:
        data = read_file(folder / file.path, max_bytes=CONFIG_MAX_BYTES)
        require_no_secrets(read_json(data, what=file.path, family="intake"), what=file.path)
    weights = [folder / file.path for file in files if file.path.endswith(WEIGHTS_SUFFIX)]
    ran = [
        Scan(name="links and unsafe names", what=code("scan_of_every_file"), files=len(files)),
        Scan(name="unsafe serialisation", what=code("scan_of_pickles"), files=len(files)),
        Scan(name="code", what=code("scan_of_code"), files=len(files)),
        Scan(name="secrets", what=code("scan_of_secrets"), files=len(settings)),
    ]
    if with_values:
        hash_weights(weights, family="intake", with_file_digest=True, require_finite=True)
        ran.append(Scan(name="NaN and infinity", what=code("scan_of_values"), files=len(weights)))
    return (*ran, *_NOT_RUN)
