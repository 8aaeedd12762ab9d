"""What something was made from, with the records that hold of it now, and the values that those records state. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.recorded_run import TrainedRun, data_sections
from peft_registry.registry.compliance.rule_files import by_edition
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Article4a, DataUsed, Gpai, Product, RecordSections, Use
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Value

# what the tool counted of the use of a file by one run; everything else about data is of the file itself
_COUNTS = ("n_points", "n_tokens")


@by_edition
def stated_of_a_file() -> tuple[str, ...]:
    """What people state of a file, and what is of the file itself, by the names in its section."""
    return tuple(field_rules().inherited("data[]."))


class Ancestor(Frozen):
    """A registered result that something is made from, with the record that holds of it now.

    `made` is the statement of how it was made, `statement` the one that holds that record, and `earlier_statements` those that it
    superseded. `runs` are the manifests of all trainings
    that went into it, its own among them. A result without a run record (an import) has trained on what nobody recorded.
    """

    label: str
    manifest: Digest
    is_parent: bool
    has_trained: bool = True  # and was not only merged
    run: RunRecord | None = None
    made: Digest | None = None
    record: RecordSections | None = None
    statement: Digest | None = None
    earlier_statements: tuple[Digest, ...] = ()
    runs: frozenset[Digest] = frozenset()

    @property
    def recorded_data(self) -> tuple[DataUsed, ...]:
        """The data that its record lists: after a merge or a continued run those of its ancestors too."""
        return () if self.record is None else self.record.data

    @property
    def data(self) -> tuple[DataUsed, ...]:
        """The files that it trained on itself, as its run counted them, with what its record states of each."""
        if self.run is None:
            return self.recorded_data
        recorded = {str(section.digest.value): section for section in self.recorded_data}
        return tuple(
            _with_stated(section, recorded.get(str(section.digest.value))) for section in data_sections(self.run)
        )

    @property
    def is_continued(self) -> bool:
        """It trained from the weights of another training, so that its record speaks of the data of both."""
        return self.has_trained and len(self.runs) > 1


def trained_runs(ancestors: Iterable[Ancestor]) -> tuple[TrainedRun, ...]:
    """The trainings among the ancestors."""
    trainings = [ancestor for ancestor in ancestors if ancestor.has_trained]
    return tuple(
        TrainedRun(label=training.label, manifest=training.manifest, run=training.run) for training in trainings
    )


@dataclass(frozen=True, slots=True)
class StatedField:
    """A section of the record of an ancestor, and the field in it that is looked at."""

    ancestor: Ancestor
    section: DataUsed | Article4a | Gpai | Use | Product
    name: str = ""

    @property
    def label(self) -> str:
        return self.ancestor.label

    @property
    def data(self) -> DataUsed:
        """The section, where it is that of a file."""
        assert isinstance(self.section, DataUsed)
        return self.section

    @property
    def value(self) -> Value:
        value = getattr(self.section, self.name)
        assert isinstance(value, Value), self.name
        return value

    def field(self, name: str) -> "StatedField":
        return StatedField(self.ancestor, self.section, name)

    @property
    def statements(self) -> tuple[Digest, ...]:
        return () if self.ancestor.statement is None else (self.ancestor.statement,)


def _with_stated(section: DataUsed, recorded: DataUsed | None) -> DataUsed:
    """A file as a run counted it, with what the run's record states of it."""
    if recorded is None:
        return section
    return section.revised(
        art4a=recorded.art4a,
        **{name: getattr(recorded, name) for name in stated_of_a_file()},
    )
