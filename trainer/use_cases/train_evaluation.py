"""The two arms of a run, its base and what it trained, on what its file asks: suites and texts are read again once it trained."""

from typing import TYPE_CHECKING, Any

from peft_registry.registry.evaluation.items import FILE
from peft_registry.registry.evaluation.praise import Tries
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.ancestry import tries_of_ancestors
from peft_registry.registry.records.tries import most_tries, tries_of_begun
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe
from peft_registry.trainer.inputs.ancestry import texts_of_ancestors
from peft_registry.trainer.inputs.evaluation import EvaluationSetup, load_suites
from peft_registry.trainer.machine.kept_memory import give_back_freed_memory
from peft_registry.trainer.methods import changes_loaded_base
from peft_registry.trainer.use_cases.train_run import TrainingRun

if TYPE_CHECKING:
    from peft_registry.trainer.bases.stored_weights import StoredWeights
    from peft_registry.trainer.evaluation.text_hashes import TextHashes
    from peft_registry.trainer.runs.before_after import EvaluatedRun, QuestionsOfFile
    from peft_registry.trainer.training.forward_passes import Passes
    from peft_registry.trainer.training.train_adapter import Trained


def evaluate_run(
    registry: Registry,
    run: TrainingRun,
    trained: "Trained",
    *,
    weights_digest: Digest,
    texts: "TextHashes",
    key_id: str,
    reuse: bool,
    observe: Observe,
) -> "tuple[EvaluatedRun, Passes]":
    """Score before and after on the same items; what was found, and the forward passes that it took.

    Args:
        registry: holds the pins of suites, and what the starting adapter learnt from.
        run: whose file asks.
        trained: the model in memory.
        weights_digest: of what was trained.
        texts: that it learnt from.
        key_id: of whoever is responsible for the record.
        reuse: whether scores are taken that an earlier start of the run, or another evaluation of the same, kept.
        observe: hears of progress and of the result in a line each.

    Raises:
        BaseChanged: a file of the base is not what was compared.
        KnownError: a suite or a text that the file names is not what was pinned, or cannot be read.
    """
    from peft_registry.trainer.runs.before_after import evaluate_before_after
    from peft_registry.trainer.training.forward_passes import count_passes

    setup = EvaluationSetup(registry, key_id, "trainer", reuse)
    give_back_freed_memory()  # of the training: gradients, activations, the optimizer's state
    second_base = _second_base(run, trained)
    stored = _stored(run, trained)
    with count_passes(trained.model, second_base) as passes:
        evaluated = evaluate_before_after(
            trained,
            run.config,
            base=run.base.record.identity,
            weights_digest=weights_digest,
            base_model=second_base,
            stored=stored,
            questions=_questions(registry, run, trained, texts),
            keep=setup.score_keeper(trained.hardware.device),
            conditions=setup.conditions(
                trained.hardware,
                run.config.evaluation.bias,
                seed=run.config.training.seed,
                name_table=lambda _items: FILE,  # the first table of a version; later ones are told apart
                tries=_tries(registry, run),
            ),
            observe=observe,
        )
    if trained.waiting is not None or stored.tensors:
        run.base.require_unchanged()  # it was read until now
    return evaluated, passes


def _second_base(run: TrainingRun, trained: "Trained") -> Any | None:  # transformers' PreTrainedModel
    """The untouched base, where the trained model is a whole model of its own; None where it is the same weights."""
    if not changes_loaded_base(run.config):
        return None
    from peft_registry.trainer.bases.loading import load_base

    model = load_base(run.base.folder, dtype="fp32", device=trained.hardware.device)[0]
    run.base.require_unchanged()
    return model


def _stored(run: TrainingRun, trained: "Trained") -> "StoredWeights":
    """Evaluations speak of the base as it is stored, whatever it was narrowed to for training."""
    from peft_registry.trainer.bases.stored_weights import AS_LOADED, stored_weights

    if run.config.quantization is not None:
        return AS_LOADED
    stored = stored_weights(trained.model, run.base.folder)
    run.base.require_unchanged()
    return stored


def _questions(registry: Registry, run: TrainingRun, trained: "Trained", texts: "TextHashes") -> "QuestionsOfFile":
    """What the file asks; suites and texts are read again, because training may have taken long, and the pins still hold."""
    from peft_registry.trainer.evaluation.leakage import known_training
    from peft_registry.trainer.evaluation.retention import retained
    from peft_registry.trainer.evaluation.scoring import max_length_of
    from peft_registry.trainer.hub.data_sets import locate_locally_or_on_hub
    from peft_registry.trainer.runs.before_after import QuestionsOfFile

    asked = run.config.evaluation
    return QuestionsOfFile(
        suites=load_suites(registry, asked.bias, half=run.plan.scope.half),
        guard=run.plan.scope.guard(),
        retained=retained(
            asked.retention,
            locate=locate_locally_or_on_hub(run.loaded.folder),
            tokenizer=trained.tokenizer,
            longest=max_length_of(trained.model),
        ),
        trained=texts_of_ancestors(registry, [] if run.start is None else [run.start])
        + known_training("this run", texts),
        tasks=run.tasks,  # as they were set up: the harness may not make them again while the training lasts
    )


def _tries(registry: Registry, run: TrainingRun) -> Tries:
    """Of this run and of those that went into what it continues from the one of which most seeds were begun."""
    own = tries_of_begun(registry, run.kept.run_id)
    return own if run.start is None else most_tries((own, tries_of_ancestors(registry, [run.start])))
