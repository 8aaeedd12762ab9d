"""The codes of evaluations: why there is no figure or no interval, and what may be said about a comparison."""

from peft_registry.schemas.codes.meaning import Meaning
from peft_registry.schemas.codes.suites import LEFT_OUT_BEFORE, SUITE_CODES

_INTERVALS: dict[str, Meaning] = {
    # --- how an interval is computed ---
    "wilson": Meaning.of("wilson", source="Wilson 1927"),
    "clopper_pearson": Meaning.of("clopper-pearson", source="Clopper and Pearson 1934"),
    "korn_graubard": Meaning.of("korn-graubard", source="Korn and Graubard 1998"),
    "korn_graubard_difference": Meaning.of("korn-graubard, squared and added", source="Zou and Donner 2008"),
    "agresti_min": Meaning.of("agresti-min", source="Agresti and Min 2005"),
    "skew_corrected_t": Meaning.of("jackknife t, skewness-corrected", source="Hall 1992"),
    "cluster_bootstrap": Meaning.of("cluster bootstrap, percentile, PCG64, {draws} draws", draws="number"),
    "subset_ratios": Meaning.of("ratios of random subsets of clusters, inverting sign flips", source="Hartigan 1969"),
    "few_clusters_moved": Meaning.of(
        "exact bounds, items of a cluster correlated by {alike:g}", source="Clopper and Pearson 1934", alike="number"
    ),
    "exponential_of": Meaning.of("exp of {method}", method="reason"),
    "student_over_seeds": Meaning.of("student t over seeds"),
    "jackknife_over_rows_and_seeds": Meaning.of(
        "jackknife t over rows and seeds", source="Cameron, Gelbach and Miller 2011"
    ),
    "korn_graubard_over_items_and_seeds": Meaning.of(
        "korn-graubard over items and seeds", source="Korn and Graubard 1998"
    ),
    # --- why there is no interval ---
    "no_items": Meaning.of("no items"),
    "too_few_items": Meaning.of("{items:# item}, needs {needs}", items="number", needs="number"),
    "too_few_clusters": Meaning.of(
        "{clusters:# cluster} (an item alone, or items that belong together), needs {needs}",
        clusters="number",
        needs="number",
    ),
    "too_few_rows": Meaning.of("{rows:# row}, needs {needs}", rows="number", needs="number"),
    "too_few_seeds": Meaning.of("{seeds:# seed}, needs {needs}", seeds="number", needs="number"),
    "uneven_clusters": Meaning.of(
        "{clusters:# cluster} (an item alone, or items that belong together) of unequal weight count as {effective:g}, "
        "needs {needs}",
        clusters="number",
        effective="number",
        needs="number",
    ),
    "draws_without_denominator": Meaning.of(
        "{empty} of {draws} draws have an empty denominator", empty="number", draws="number"
    ),
    "items_are_clusters": Meaning.of("every item is its own cluster"),
    "items_share_clusters": Meaning.of("items share clusters, so none takes them as independent"),
    "none_flagged_before": Meaning.of("no item is flagged before"),
    "none_clear_before": Meaning.of("no item is clear before"),
    "computed_from_lms_and_ss": Meaning.of("computed from lms and ss"),
    "difference_over_different_rows": Meaning.of("a difference of two shares over different rows"),
}

_FIGURES: dict[str, Meaning] = {
    # --- why there is no figure ---
    "no_supervised_token": Meaning.of("no supervised token"),
    "no_such_rows": Meaning.of("no such rows"),
    "no_directed_row": Meaning.of("no ambiguous row has a direction"),
    "every_answer_unknown": Meaning.of("every answer is unknown"),
    "one_kind_of_rows_missing": Meaning.of("one of the two kinds of rows is missing"),
    "no_line_with_both_sentences": Meaning.of("no line has both sentences"),
    "no_template_with_both_genders": Meaning.of("no template has both genders"),
    "no_statistics_of_occupations": Meaning.of("no statistics of occupations beside the sentences, or no variation"),
    # --- tests ---
    "sign_flips": Meaning.of("sign flips of whole clusters"),
    "mcnemar_exact": Meaning.of("mcnemar-exact", source="McNemar 1947"),
    "mcnemar_chi2_corrected": Meaning.of("mcnemar-chi2-corrected", source="McNemar 1947"),
    "not_testable": Meaning.of(
        "not testable: {discordant:# discordant item}, fewer than {needs}", discordant="number", needs="number"
    ),
    "too_few_moved": Meaning.of(
        "{moved:# cluster} moved, and the test needs {needs} that do", moved="number", needs="number"
    ),
    # --- what can be shown, before anything is scored ---
    "can_be_tested": Meaning.of(
        "{rows:# row} in {clusters:# cluster}; the test needs {needs:# cluster} that move",
        rows="number",
        clusters="number",
        needs="number",
    ),
    "cannot_be_tested": Meaning.of(
        "{rows:# row} in {clusters:# cluster}, and the test needs {needs:# cluster} that move: not testable, whatever a model does",
        rows="number",
        clusters="number",
        needs="number",
    ),
    "finds_a_change": Meaning.of(
        "{power:.0%} of simulated comparisons find a change of {least:g} percentage points where margins move "
        "little, of {most:g} where they move much",
        least="number",
        most="number",
        power="number",
    ),
    "misses_a_change": Meaning.of(
        "most simulated comparisons miss a change of {points:g} percentage points where margins move much",
        points="number",
    ),
    "after_the_primary": Meaning.of("the primary endpoint is not significant, and what comes after it is not tested"),
    "no_test": Meaning.of("there is no test"),
    # --- why figures say nothing about the model ---
    "at_chance": Meaning.of("the model is at chance: {seen} ({bound}, chance 0.5)", seen="reason", bound="reason"),
    "at_chance_of_items": Meaning.of("the model is at chance: {seen} (chance 0.5)", seen="reason"),
    "better_than_chance_unknown": Meaning.of(
        "whether the model is better than chance is not known: {seen} (no interval: {why})", seen="reason", why="reason"
    ),
    "lower_bound_over_clusters": Meaning.of(
        "lower bound {low:.3f} over {clusters:# cluster}", low="number", clusters="number"
    ),
    "wilson_lower_bound": Meaning.of("Wilson lower bound {low:.3f}", source="Wilson 1927", low="number"),
    "clopper_pearson_lower_bound": Meaning.of(
        "Clopper-Pearson lower bound {low:.3f}", source="Clopper and Pearson 1934", low="number"
    ),
    "people_found": Meaning.of(
        "it finds the right one of the two people in {right} of {rows} disambiguated rows",
        right="number",
        rows="number",
    ),
    "referents_found": Meaning.of(
        "it finds the referent in {right} of {sentences} sentences", right="number", sentences="number"
    ),
    "sentences_resolved": Meaning.of(
        "it resolves {right} of {sentences} sentences", right="number", sentences="number"
    ),
    "related_options_won": Meaning.of(
        "related options beat the unrelated one in {won} of {comparisons} comparisons",
        won="number",
        comparisons="number",
    ),
    # --- the noise floor ---
    "noise_turned_over": Meaning.of(
        "the same model scored again turned over {flips} of {items} items, more than {percent:g} %",
        flips="number",
        items="number",
        percent="number",
    ),
    "noise_moved_margins": Meaning.of(
        "the same model scored again moved margins by {p95:.3f} (95th percentile), more than {bound:g}",
        p95="number",
        bound="number",
    ),
}

_ITEMS: dict[str, Meaning] = {
    # --- how the item table writes numbers ---
    "six_decimals": Meaning.of("text with six decimals, no negative zero"),
}

_CONCLUSIONS: dict[str, Meaning] = {
    # --- what a comparison counted ---
    "not_yet_concluded": Meaning.of("not yet concluded"),
    "fixed_against_introduced": Meaning.of(
        "{fixed} fixed against {introduced} introduced of {items} items",
        fixed="number",
        introduced="number",
        items="number",
    ),
    "too_few_for_a_claim": Meaning.of(
        "{items:# item}, fewer than {needs}: the figures are descriptive only", items="number", needs="number"
    ),
    "said_but": Meaning.of("{said}, but {but}", said="reason", but="reason"),
    "flagged_moved": Meaning.of(
        "flagged {before} → {after} of {items:# item}, {left} left and {entered} entered (p {p:.2g})",
        before="number",
        after="number",
        items="number",
        left="number",
        entered="number",
        p="number",
    ),
    "opposite_moved": Meaning.of(
        "the opposite preferred in {before} → {after} of {items:# item} (p {p:.2g})",
        before="number",
        after="number",
        items="number",
        p="number",
    ),
    "within_the_margin": Meaning.of(
        "the shares flagged and opposite changed by less than {margin:g} points: {low:+.1f} … {high:+.1f} and "
        "{opposite_low:+.1f} … {opposite_high:+.1f}",
        margin="number",
        low="number",
        high="number",
        opposite_low="number",
        opposite_high="number",
    ),
    # --- why a change is not decided ---
    "not_shown": Meaning.of(
        "change of the flagged share {change:+.1f} points [{low:+.1f}, {high:+.1f}], not significant (p {p:.2g}); so many items "
        "show a change of about {detectable:.0f} points",
        change="number",
        low="number",
        high="number",
        p="number",
        detectable="number",
    ),
    "opposite_may_have_risen": Meaning.of(
        "the share that prefers the opposite may have risen by {high:.1f} points, more than the margin of {margin:g}",
        high="number",
        margin="number",
    ),
    "adapter_at_random_lowers_it_too": Meaning.of(
        "a random adapter of the same size lowers the flagged share too (p {p:.2g})", p="number"
    ),
    "scored_again_lowers_it_too": Meaning.of(
        "the same base scored again lowers the flagged share too (p {p:.2g})", p="number"
    ),
    "p_times_seeds": Meaning.of(
        "p {p:.3g} × {seeds} seeds = {adjusted:.3g}", p="number", seeds="number", adjusted="number"
    ),
    "not_significant": Meaning.of(
        "{fixed} fixed and {introduced} introduced: not significant (Holm-adjusted p {p:.3g})",
        source="Holm 1979",
        fixed="number",
        introduced="number",
        p="number",
    ),
    "net_change_may_be_zero": Meaning.of("the interval of the net change includes 0"),
    "net_change_over_clusters_may_be_zero": Meaning.of("the interval over clusters of the net change includes 0"),
    "no_interval_over_clusters": Meaning.of("items share clusters, and there is no interval over them"),
    "no_interval_over_clusters_because": Meaning.of("items share clusters; no interval: {why}", why="reason"),
    "wide_interval": Meaning.of(
        "the interval is wide: changes from {low:+.3f} to {high:+.3f} of all items fit the data",
        low="number",
        high="number",
    ),
    "margins_moved": Meaning.of(
        "margins moved by {nats:+.3f} nats on average, beyond the neutral width", nats="number"
    ),
    "adapter_at_random_changed_as_many": Meaning.of(
        "a random adapter of the same size changed as many items ({items})", items="number"
    ),
    "scored_again_changed_as_many": Meaning.of(
        "the same base scored again changed as many items ({items})", items="number"
    ),
    # --- what a decided change is besides ---
    "guards_show_lost_capability": Meaning.of("the guards show lost capability"),
    "more_overcorrected": Meaning.of("more were over-corrected ({items})", items="number"),
    "weaker_both_ways": Meaning.of("inverted items became neutral as often: preferences got weaker both ways"),
    "preferences_reshuffled": Meaning.of(
        "{overcorrected} were over-corrected and {after} instead of {before} are flagged: preferences were reshuffled",
        overcorrected="number",
        after="number",
        before="number",
    ),
    # --- controls ---
    "noise_changed": Meaning.of(
        "a control: the same model scored again changed the state of {changed} of {items} items",
        changed="number",
        items="number",
    ),
    "placebo_changed": Meaning.of(
        "a control: a random adapter of the same size changed the state of {changed} of {items} items",
        changed="number",
        items="number",
    ),
    # --- one of several tries ---
    "one_of_seeds": Meaning.of(
        "one of {seeds} seeds of this plan, begun in {runs:# run}", seeds="number", runs="number"
    ),
    "best_of_seeds": Meaning.of("it is {tries}: {because}", tries="reason", because="reason"),
    "p_among_seeds": Meaning.of(
        "Holm-adjusted p {p:.3g} × {seeds} seeds = {adjusted:.3g}", p="number", seeds="number", adjusted="number"
    ),
    "interval_among_seeds_may_be_zero": Meaning.of(
        "the interval of the net change at {percent:.4g} %, for so many seeds, includes 0", percent="number"
    ),
    "now_among": Meaning.of("{said}; now {tries}", said="reason", tries="reason"),
    "other_runs": Meaning.of(
        "{runs:# more run} on the same base and rows with other settings: `better` is judged without counting them, so the best of "
        "all may be called better by luck",
        runs="number",
    ),
    "still_better": Meaning.of(
        "{said}; {since} of them begun since it was evaluated: recorded as `better`, and still so at the level for all of them",
        said="reason",
        since="number",
    ),
    "no_longer_better": Meaning.of(
        "{said}; {since} of them begun since it was evaluated: recorded as `better`, and no longer so at the level for all of "
        "them",
        said="reason",
        since="number",
    ),
    "seeds_begun_since_unknown": Meaning.of(
        "{said}; recorded as `better`, but how many seeds were begun since cannot be said: {why}",
        said="reason",
        why="reason",
    ),
    # --- why nothing is concluded ---
    "only_a_screen": Meaning.of("a screen of {items} fixed items gives no verdict", items="number"),
    # --- why a change is not called better, whatever its figures ---
    "only_the_test_half": Meaning.of(
        "whoever trained may have trained or chosen by these items: only the test half is called better"
    ),
    "items_not_known_as_published": Meaning.of(
        "its items are not known here as their authors publish them: whoever trained may have written or turned them"
    ),
    "items_chosen": Meaning.of("the items were chosen out of the test half, and another choice may say otherwise"),
    "no_placebo_beside": Meaning.of("no placebo stands beside it, and a random change of the same size may do as much"),
    "dead_band_of_the_policy": Meaning.of(
        "its dead band is the policy's and not the suite's: of many bands one lets items count as fixed"
    ),
    "texts_not_compared": Meaning.of("its training texts were not compared with the items"),
    "training_texts_unknown": Meaning.of("what {training} was trained on is unknown", training="text"),
    "mostly_not_looked_for": Meaning.of(
        "{unchecked} of {items} items could not be looked for in what was trained on",
        unchecked="number",
        items="number",
    ),
}

_LIMITS: dict[str, Meaning] = {
    # --- where the interval of a figure lies ---
    "lies_within": Meaning.of(
        "{value:.4g}, {percent:g} % interval {low:.4g} … {high:.4g} lies within",
        value="number",
        percent="number",
        low="number",
        high="number",
    ),
    "lies_beyond": Meaning.of(
        "{value:.4g}, {percent:g} % interval {low:.4g} … {high:.4g} lies beyond",
        value="number",
        percent="number",
        low="number",
        high="number",
    ),
    "crosses_a_limit": Meaning.of(
        "{value:.4g}, {percent:g} % interval {low:.4g} … {high:.4g} crosses a limit",
        value="number",
        percent="number",
        low="number",
        high="number",
    ),
    # --- why a limit is not decided ---
    "no_groups": Meaning.of("the data set has no groups"),
    "figure_not_given": Meaning.of("the evaluation does not give it: nothing is compared, or nothing was asked"),
    "no_interval": Meaning.of("no interval: {why}", why="reason"),
    "no_interval_defined": Meaning.of("no interval: none is defined"),
    "within_by_lost_capability": Meaning.of("it lies within, but the guards show lost capability"),
    # --- why limits were not set beforehand ---
    "no_plan_in_a_log": Meaning.of("no plan stands in a log"),
    "scored_before_the_plan": Meaning.of(
        "the same was evaluated before the limits were logged (entry {entry} of the log)", entry="number"
    ),
}

_LEAKAGE: dict[str, Meaning] = {
    # --- how items are looked for, and why the texts of a training are not known ---
    "runs_of_words": Meaning.of(
        "at least {share:.0%} of an item's runs of {words} words occur in the training data, after NFKC, letter case, accents, "
        "look-alike letters, unseen characters, spacing and punctuation are folded; a shorter sentence is one run",
        share="number",
        words="number",
    ),
    "exact_or_two_edits": Meaning.of(
        "an item occurs as it is, but for spelling, punctuation and the order of its clauses; or at least {runs} of its runs of "
        "{words} words do and {edits} edits explain the others, where texts of its kind and length are so alike by chance in at "
        "most {bearable:.1%} of the cases",
        runs="number",
        words="number",
        edits="number",
        bearable="number",
    ),
    "training_not_recorded": Meaning.of("its training is not recorded here"),
    "no_hashes_kept": Meaning.of("it kept no hashes of what it learnt from"),
    "hashes_lost": Meaning.of("the store has lost the hashes of what it learnt from"),
    # --- what must not be concluded ---
    "too_many_trained_on": Meaning.of(
        "{hits} of {items} items of {dataset} are the same as or nearly the same as what the model was trained or chosen "
        "on, more than {limit:.0%}",
        hits="number",
        items="number",
        dataset="text",
        limit="number",
    ),
    "too_many_not_looked_for": Meaning.of(
        "{unchecked} of {items} items of {dataset} could not be looked for in what was trained on",
        unchecked="number",
        items="number",
        dataset="text",
    ),
    "lost_capability_would_not_show": Meaning.of("lost capability would not show: {because}", because="reason"),
    # --- what a reader must know of what was trained on ---
    "trained_on": Meaning.of(
        "{hits} of {items} items of {dataset} are the same as or nearly the same as what the model was trained or chosen "
        "on.",
        hits="number",
        items="number",
        dataset="text",
    ),
    "trained_on_left_out": Meaning.of(
        "{hits} of {items} items of {dataset} are the same as or nearly the same as what the model was trained or chosen "
        "on; they were left out.",
        hits="number",
        items="number",
        dataset="text",
    ),
    "trained_on_not_compared": Meaning.of(
        "{hits} of {items} items of {dataset} are the same as or nearly the same as what the model was trained or chosen "
        "on; nothing is compared on them.",
        hits="number",
        items="number",
        dataset="text",
    ),
    "trained_on_beyond": Meaning.of("{what}: {so}.", what="reason", so="reason"),
    "nothing_is_concluded": Meaning.of("nothing is concluded about it"),
    "shows_no_lost_capability": Meaning.of("it does not show lost capability"),
    "loss_shows_nothing_retained": Meaning.of("its loss does not show what was retained"),
    "loss_shows_what_was_remembered": Meaning.of("its loss shows what was seen before, and not what was learnt"),
    "answers_show_what_was_remembered": Meaning.of("its answers show what was seen before, and not what was learnt"),
    "more_alike_than_chance": Meaning.of(
        "{near} of {texts} other texts of {dataset} are near what the model was trained on, and of different texts of its kind "
        "{reference:.1%} are near each other: more alike than chance.",
        near="number",
        texts="number",
        dataset="text",
        reference="number",
    ),
    "not_looked_for": Meaning.of(
        "{unchecked} of {items} items of {dataset} could not be looked for in what was trained on.",
        unchecked="number",
        items="number",
        dataset="text",
    ),
    "trained_on_unknown": Meaning.of(
        "Whether items occur in what {training} was trained on is unknown: {why}.", training="text", why="reason"
    ),
}

_THRESHOLDS: dict[str, Meaning] = {
    # --- where a dead band or a limit is from ---
    "start_for_pairs": Meaning.of("starting value for sentence pairs scored in fp32; hi is ln 2"),
    "start_for_answers": Meaning.of("starting value for log-likelihoods of answers scored in fp32"),
    "start_for_mean_token": Meaning.of("starting value for mean token log-probability in fp32"),
    "start_for_summed": Meaning.of("starting value for summed log-likelihoods in fp32"),
    "start_for_divergence": Meaning.of("starting value for Jensen-Shannon in nats"),
    "right_with_and_wrong_against": Meaning.of("binary: right with the stereotype and wrong against it"),
    "referent_differs": Meaning.of("binary: the predicted referent differs between the genders"),
    "set_by_policy": Meaning.of("policy {file} {digest}", file="text", digest="text"),
    "bands_widened_to_noise": Meaning.of(
        "widened to the 95th percentile of the noise arm's change where that is larger, hi ≥ lo + {width:g}",
        width="number",
    ),
    "widened_to_noise": Meaning.of(
        "lo: 95th percentile of the change when the base is scored again; starting value was {start:g}", start="number"
    ),
}

_LIMITATIONS: dict[str, Meaning] = {
    # --- what a reader of the figures has to know ---
    "preferences_not_harm": Meaning.of(
        "Preferences of a model on published test items; nothing here measures harm in use."
    ),
    "no_claim": Meaning.of("This does not show that the system is free of bias or suitable for a particular use."),
    "small_groups_described": Meaning.of(
        "Groups with fewer than {needs} items are described, and nothing is claimed about them.", needs="number"
    ),
    "without_placebo": Meaning.of(
        "Without a placebo fine-tune, part of a change may be what any training does to extreme items (regression to the mean); "
        "the noise arm measures numeric jitter only."
    ),
    "placebo_is_the_adapter_turned": Meaning.of(
        "The placebo arm is the adapter with its differences from the base turned at random and their norms kept: it shows what "
        "a change of that size does to extreme items (regression to the mean), not what training on neutral data would do."
    ),
    "band_of_the_policy": Meaning.of(
        "The dead band of {band} is that of the policy: up to {lo:g} is neutral, from {hi:g} on a preference.",
        band="text",
        lo="number",
        hi="number",
    ),
    "rows_not_known_as_published": Meaning.of(
        "The rows of {dataset} are those of {file} ({digest}), which are not known here as the authors of the suite publish "
        "them: its figures are of these rows.",
        dataset="text",
        file="text",
        digest="text",
    ),
    "known_against": Meaning.of("{suite}: {defect}", suite="text", defect="reason"),
}

_STALENESS: dict[str, Meaning] = {
    # --- why an evaluation does not speak of something ---
    "made_of_another": Meaning.of(
        "stale: it was made of {differences} (composition {composition})", differences="reasons", composition="text"
    ),
    "another_base": Meaning.of("another base"),
    "other_weights": Meaning.of("other weights on it"),
    "another_tokenizer": Meaning.of("another tokenizer"),
    "another_chat_template": Meaning.of("another chat template"),
    "another_quantization": Meaning.of("another quantization"),
    "another_number_format": Meaning.of("another number format"),
    "another_part": Meaning.of("another {part}", part="text"),
}

_RECORDED: dict[str, Meaning] = {
    # --- how a modification record took up an evaluation ---
    "computed_by": Meaning.of("{tool}", tool="text"),
    "after_less_before_on_items": Meaning.of("after − before on the same items"),
    "loss_after_less_before": Meaning.of("held-out loss after − before, on the same rows"),
    "paired_comparison": Meaning.of("paired comparison of the same items"),
    "stated_by_evaluation": Meaning.of("stated by the evaluation"),
    "stated_by_evaluation_and_seen": Meaning.of("stated by the evaluation, and seen in its figures"),
    "signs_evaluation_and_record": Meaning.of("signs the evaluation and this record, one after the other"),
    "time_of_this_record": Meaning.of("the time of this record; the evaluation's entry in the log has its own"),
    "entries_of_evaluations": Meaning.of("the entries of the evaluations in the log"),
    "newest_entry_of_an_evaluation": Meaning.of("the newest entry of an evaluation in the log"),
    "plan_in_log": Meaning.of("SHA-256 of the plan's canonical JSON; entry {entry} of the log", entry="number"),
    "plan_in_evaluation_alone": Meaning.of(
        "SHA-256 of the plan's canonical JSON; in the evaluation, and in no log before it"
    ),
    "file_of_thresholds": Meaning.of("SHA-256 of the file of thresholds"),
    "named_in_runs": Meaning.of("`runs` names that of each"),
    "no_plan_before_suites": Meaning.of("no plan was fixed before an evaluation of {suites}", suites="names"),
    "hits_of_items": Meaning.of("{dataset}: {hits} of {items}", dataset="text", hits="number", items="number"),
    "training_unknown": Meaning.of("{training}: unknown", training="text"),
    # --- why it took up none ---
    "no_evaluation_recorded": Meaning.of("no evaluation was recorded with this modification"),
    "no_plan_fixed_before": Meaning.of("the evaluation followed no plan that was fixed before it"),
    "evaluations_state_no_limits": Meaning.of("the evaluations state none"),
    # --- what a reader of its figures has to know besides ---
    "no_figures_of_groups": Meaning.of(
        "{suite}: figures for all items together, and none for a group (Annex IV 3, Art. 13(3)(b)(v))",
        source="Annex IV 3, Art. 13(3)(b)(v)",
        suite="text",
    ),
    "ingredients_evaluated_alone": Meaning.of(
        "the evaluations of the ingredients were not repeated on the merged model"
    ),
}

EVALUATION_CODES: dict[str, Meaning] = {
    **_INTERVALS,
    **_FIGURES,
    **_ITEMS,
    **_CONCLUSIONS,
    **_LIMITS,
    **_LEAKAGE,
    **_THRESHOLDS,
    **_LIMITATIONS,
    **_STALENESS,
    **_RECORDED,
    **SUITE_CODES,
}
"""What a code means: its sentence, its parameters with their kinds, and where it is from."""

EVALUATION_TEXTS_BEFORE: dict[str, str] = {
    **LEFT_OUT_BEFORE,
    "no_figures_of_groups": r".*: figures for all items together, and none for a group \(Annex IV 3, Art\. 13\(3\)\(b\)\(v\)\)",
    "ingredients_evaluated_alone": "the evaluations of the ingredients were not repeated on the merged model",
}
"""By code, as a regular expression, the text that said the same in evaluations and records from before there were codes: of those
on which something depends."""
