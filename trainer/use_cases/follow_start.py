"""What is known of a training by somebody else's trainer before its first step: the model, the rows, the base, the facts.

Nothing here writes. What cannot be followed is refused here; what is only not known stays unknown, with its reason.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.recorded_result import base_section, modifier_section, upstream_terms
from peft_registry.registry.disk.process_identity import this_process
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.facts_file import read_checked_facts
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.tries import contents_digest, followed_plan_digest
from peft_registry.schemas.canonical import NotCanonical
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.dataset import UNNAMED_ROWS, DataIdentity
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.progress import Observe, Said, Warned
from peft_registry.schemas.run import BegunRun, KeptTexts
from peft_registry.schemas.run_log import RunBegun
from peft_registry.trainer.bases.quantization import describe
from peft_registry.trainer.data.dataset_rows import RowDigest, RowsNotDigested, name_of_rows, rows_of, text_of_row
from peft_registry.trainer.inputs.base import CheckedBase
from peft_registry.trainer.machine.environment import Hardware
from peft_registry.trainer.runs.begun import content_digest_of_rows
from peft_registry.trainer.training.followable import (
    method_of,
    quantization_of,
    require_adapter_alone,
    require_fresh,
)
from peft_registry.trainer.training.followed_facts import counted_parameters, hardware_of, method_block
from peft_registry.trainer.training.foreign_trainer import arguments_of, unwrapped


@dataclass(frozen=True, slots=True)
class FollowedModel:
    """The model of a trainer, as it came: what trains it, and in which form its base is held.

    Attributes:
        outer: as the trainer has it, an adapter around its base or a whole model.
        inner: the base's own class, of which the adapter's layers are a part.
    """

    outer: Any  # transformers' or peft's model
    inner: Any  # transformers' model
    method: str
    quantization: QuantizationBlock | None

    @classmethod
    def of(cls, trainer: Any, *, from_step: int) -> "FollowedModel":
        """The model of a trainer that begins at a step.

        Raises:
            NotFollowed: it is trained in a way, or is of a kind, that nothing here records.
        """
        outer = trainer.model
        inner = unwrapped(outer)
        method = method_of(trainer, outer)
        quantization = quantization_of(inner)
        require_adapter_alone(outer)
        if from_step == 0:  # what continues from a checkpoint was trained before
            require_fresh(outer)
        return cls(outer, inner, method, quantization)

    def config(self, trainer: Any) -> dict[str, Any]:
        """What the run is recorded with: the trainer's arguments, the method's block, how the base is quantized."""
        config = {"training": arguments_of(trainer)} | method_block(self.outer, self.method)
        if self.quantization is not None:
            config["quantization"] = self.quantization.model_dump(mode="json")
        return config


@dataclass(frozen=True, slots=True)
class FollowedRows:
    """The rows that a trainer was given.

    Attributes:
        data: their identity; empty where they could not be digested.
        unknown: why not; None where they could.
        texts: what is kept of the hashes of their texts.
        kept: those hashes, as files of the store.
        contents: digest of the rows as values, whatever their order.
    """

    data: tuple[DataIdentity, ...]
    unknown: str | None
    texts: KeptTexts | None
    kept: tuple[bytes, ...]
    contents: Digest | None

    @classmethod
    def of(cls, trainer: Any, observe: Observe) -> "FollowedRows":
        """Read every row once for its bytes and its text, and once for its values."""
        from peft_registry.trainer.evaluation.text_hashes import hash_texts

        dataset = trainer.train_dataset
        digest = RowDigest(name_of_rows(dataset))
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        decode = getattr(tokenizer, "decode", None)

        def texts() -> Iterator[str]:
            for row in rows_of(dataset):
                digest.add(row)
                yield text_of_row(row, decode)

        try:
            hashes = hash_texts(texts())
        except (RowsNotDigested, NotCanonical) as error:
            reason = f"{error.what}: {error.why}"
            observe(Warned("rows-not-digested", reason))
            return cls(data=(), unknown=reason, texts=None, kept=(), contents=None)
        identity = digest.identity(rule="all rows that the trainer was given")
        observe(Said("data", f"{digest.rows} rows  {identity.sha256.short}  {identity.name}"))
        kept = hashes.to_bytes()
        return cls(
            data=(identity,),
            unknown=None,
            texts=hashes.describe(kept),
            kept=(kept,),
            contents=content_digest_of_rows(rows_of(dataset)),
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The rows as what may have been recalled."""
        return tuple(Source(identity.sha256, f"the data {identity.name}") for identity in self.data)

    @property
    def names(self) -> frozenset[str] | None:
        """The names under which a facts file may answer for them; None where there are none."""
        # rows without a name are answered by `*` alone
        return frozenset(identity.name for identity in self.data if identity.name != UNNAMED_ROWS) or None


def facts_of_people(
    registry: Registry, path: Path | None, base: CheckedBase, rows: FollowedRows, profile: OrganisationProfile
) -> dict[str, Any] | None:
    """What a facts file says, held against what is known already; None without a file.

    Raises:
        SeveralProblems: everything in it that is malformed, or contradicts what is known.
    """
    used = base.as_input()
    return read_checked_facts(
        path,
        at=registry.clock(),
        bases=[base_section(used)],
        upstream=[upstream_terms(used)],
        data=rows.names,
        modifier=modifier_section(profile),
    )


@dataclass(frozen=True, slots=True)
class FollowStart:
    """The model, the base, the rows and the facts, as they were before the first step.

    Attributes:
        scratch: the run's own folder, gone when it ends.
        trainable, total: counts of parameters.
        facts: what people know, by field of the record.
        from_step: 0, or the step of the checkpoint that the trainer continues from.
    """

    run_id: str
    started_at: str
    base: CheckedBase
    scratch: Path
    model: FollowedModel
    config: dict[str, Any]
    rows: FollowedRows
    trainable: int
    total: int
    hardware: Hardware
    facts: dict[str, Any] | None
    from_step: int

    @classmethod
    def of(
        cls,
        trainer: Any,
        model: FollowedModel,
        *,
        run_id: str,
        started_at: str,
        base: CheckedBase,
        scratch: Path,
        rows: FollowedRows,
        facts: dict[str, Any] | None,
        from_step: int,
    ) -> "FollowStart":
        """What is known of a training before its first step; what the trainer and its model tell is read from them."""
        trainable, total = counted_parameters(model.outer)
        return cls(
            run_id=run_id,
            started_at=started_at,
            base=base,
            scratch=scratch,
            model=model,
            config=model.config(trainer),
            rows=rows,
            trainable=trainable,
            total=total,
            hardware=hardware_of(trainer, model.inner),
            facts=facts,
            from_step=from_step,
        )

    @property
    def method(self) -> str:
        return self.model.method

    @property
    def trains_whole_model(self) -> bool:
        return self.method == "full"

    @property
    def base_reference(self) -> BaseReference:
        """The base as manifest and record name it."""
        block = self.model.quantization
        return BaseReference(
            identity=self.base.record.identity,
            manifest=self.base.version.manifest_digest,
            quantisation=None if block is None else describe(block),
        )

    def logged_beginning(self, name: str, project: str | None) -> RunBegun:
        """What the log of the run begins with."""
        return RunBegun(
            run_id=self.run_id,
            name=name,
            project=project,
            method=self.method,
            base=self.base.version.label,
            settings=self.config,
            started_at=self.started_at,
            at=time.time(),
            process=this_process(),
        )

    def begun(self, seed: int) -> BegunRun:
        """What is noted of the run now: a run that ends without a version counts among the tries."""
        base = self.base.version.manifest_digest
        data = [str(identity.sha256) for identity in self.rows.data]
        return BegunRun(
            run_id=self.run_id,
            plan=followed_plan_digest(self.config, base, data),
            contents=contents_digest(self.method, base, self.rows.contents),
            seed=seed,
            started_at=self.started_at,
        )
