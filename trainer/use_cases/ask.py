"""`registry ask`: one prompt, answered by registered versions, each loaded from a verified copy.

Answers are greedy and in fp32, so that the same versions give the same text. One prompt at a time: rows of unequal length
cannot be generated together behind a learned prompt.
"""

import gc
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.trained_templates import trained_template
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.trained_templates import Template, require_for_questions
from peft_registry.schemas.version import Version
from peft_registry.trainer.data.prompting import AS_TYPED, Prompting, prompting_of
from peft_registry.trainer.use_cases.load import load_version

BASE = "base"  # what `--against base` means: the base of the version that is asked


class NothingAsked(InputRefused):
    what = "there is no question"
    why = "a version continues the text that it is given"
    fix = 'write one in quotes: registry ask {name} "May I borrow your pen?"'

    name: str


class QuestionTooLong(InputRefused):
    what = "the question has {tokens} tokens, and {label} reads {room}"
    why = "an answer needs room after it, and positions beyond the context were never trained"
    fix = "ask a shorter question"

    label: str
    tokens: int
    room: int


class NothingToCompareWith(InputRefused):
    what = "{label} is a base, and has none to be compared with"
    why = "`--against base` means the base of the version that is asked"
    fix = "name another version: registry ask {label} … --against NAME:NUMBER"

    label: str


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a version said: `tokens` new ones in `seconds`, its loading not counted; `template` says how it was asked."""

    version: str
    text: str
    tokens: int
    seconds: float
    template: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def ask(
    registry: Registry,
    reference: str,
    prompt: str,
    *,
    against: str | None = None,
    max_new_tokens: int = 64,
    raw: bool = False,
    observe: Observe = ignore,
) -> tuple[ModelAnswer, ...]:
    """The answers of a version and of what it is compared with, in that order.

    Each version is asked in the template that it was trained with; the base as the version that it is compared with.

    Args:
        registry: where they are.
        reference: a version.
        prompt: of the user.
        against: `base`, or another version; None asks one alone.
        max_new_tokens: the maximum number of new tokens; a version may stop before.
        raw: send the prompt as it is.
        observe: hears of the base's check.

    Raises:
        NothingAsked: the prompt is empty.
        SeveralTemplates, TemplateOfSeveralColumns: it cannot be put into the template of a version.
        ChatTemplateRefused: the base's chat template does not render it.
        QuestionTooLong: it fills the context.
        NoBaseKnown: an adapter's base is not registered.
        NothingToCompareWith: `base` means nothing here.
        NotFound, PullRefused, PullUnverified: a version is not there, or does not verify.
        IntegrityBroken: the base's bytes are not those that were registered.
    """
    if not prompt.strip():
        raise NothingAsked(reference)
    version = version_named(registry, reference)
    template = _template(registry, version, raw=raw)
    first, base = _asked(registry, version, template, prompt, max_new_tokens, observe=observe)
    if against is None:
        return (first,)
    if against == BASE:
        if base is None:
            raise NothingToCompareWith(version.label)
        # its bytes were checked a moment ago
        second, _ = _asked(registry, base, template, prompt, max_new_tokens, observe=ignore)
        return first, second
    other = version_named(registry, against)
    own = _template(registry, other, raw=raw)
    second, _ = _asked(registry, other, own, prompt, max_new_tokens, observe=observe)
    return first, second


def _template(registry: Registry, version: Version, *, raw: bool) -> Template | None:
    """The template that a version is asked in, None for a prompt that is sent as it is."""
    if raw:
        return None
    template = trained_template(registry, version)
    require_for_questions(template)
    return template


def _asked(
    registry: Registry,
    version: Version,
    template: Template | None,
    prompt: str,
    max_new_tokens: int,
    *,
    observe: Observe,
) -> tuple[ModelAnswer, Version | None]:
    """The answer of one version, and its base; one model is in memory at a time."""
    place = None if registry.read_only else registry.folder  # where that can be written, it has room for what it holds
    with tempfile.TemporaryDirectory(dir=place, prefix=".ask-") as scratch:
        loaded = load_version(registry, version, Path(scratch), observe=observe)
        model = loaded.model
        tokenizer = loaded.tokenizer
        prompting = AS_TYPED if template is None else prompting_of(template, tokenizer)
        answer = answer_of(version.label, model, tokenizer, prompt, max_new_tokens, prompting=prompting)
        base = loaded.base
        del model, loaded
    gc.collect()
    return answer, base


def answer_of(
    label: str, model: Any, tokenizer: Any, prompt: str, max_new_tokens: int, *, prompting: Prompting = AS_TYPED
) -> ModelAnswer:
    """What a loaded model says to one prompt.

    Raises:
        ChatTemplateRefused, QuestionTooLong: as `ask`.
    """
    import torch

    from peft_registry.trainer.evaluation.scoring import max_length_of

    given = prompting.ids(tokenizer, prompting.prompt(tokenizer, prompt))
    room = max_length_of(model)
    if room is not None and len(given) >= room:
        raise QuestionTooLong(label, len(given), room)
    ids = torch.tensor([given])
    started = time.perf_counter()
    with torch.inference_mode(), warnings.catch_warnings():
        # what peft says of every generation behind a learned prompt
        warnings.filterwarnings("ignore", message="Position ids are not supported", category=UserWarning)
        generated = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        )
    seconds = time.perf_counter() - started
    new = generated[0, ids.shape[1] :]
    answer = tokenizer.decode(new.tolist(), skip_special_tokens=True).strip()
    return ModelAnswer(label, answer, len(new), round(seconds, 3), prompting.line)
