"""The codes of modification records: how a value came about, and why there is none."""

from peft_registry.schemas.codes.meaning import Meaning

RECORD_CODES: dict[str, Meaning] = {
    # --- of codes ---
    "together": Meaning.of("{parts:; }", parts="reasons"),
    "in_turn": Meaning.of("{parts}", parts="reasons"),
    "in_its_own_record": Meaning.of("its own record says why"),
    # --- why a field is open until somebody or something fills it ---
    "not_answered": Meaning.of("nobody has answered it"),
    "proposed_by": Meaning.of(
        "proposed is {answer}, as typed by {by}; nobody who answers for legal has signed it",
        answer="text",
        by="text",
    ),
    "not_measured": Meaning.of("not measured or not recorded"),
    "recorded_is_empty": Meaning.of("what is recorded is empty"),
    "member_not_stated": Meaning.of("it is not stated"),
    "not_derived": Meaning.of("not derived: {because}", because="reason"),
    "inputs_not_recorded": Meaning.of("what it follows from is not recorded"),
    "not_stated_upstream": Meaning.of("not stated by the provider of the base, or not looked up"),
    "not_answered_at_init": Meaning.of(
        "whoever set this registry up with `registry init` left it empty; it can still be answered with `registry decide`, and in "
        "the registry's profile.json for whatever is registered later"
    ),
    # --- why there is no answer to give ---
    "asked_only_where": Meaning.of("asked only where one of these holds: {conditions}", conditions="names"),
    "no_public_address": Meaning.of("it is at no public address"),
    "never_released": Meaning.of("it was never released"),
    "never_placed_in_union": Meaning.of("it was never placed on the Union market"),
    "in_no_repository": Meaning.of("the code is in no repository"),
    "own_data": Meaning.of("the data is the modifier's own, and under no licence"),
    "nothing_labelled": Meaning.of("nothing in the data is labelled"),
    "withheld_by_provider_of_compute": Meaning.of(
        "a provider of compute or hardware withholds what is critical to determine it",
        source="Model Documentation Form",
    ),
    "part_of_no_system_before": Meaning.of("it was part of no system before"),
    "no_notified_body": Meaning.of("no notified body takes part in the assessment", source="Art. 43(1), Annex VI"),
    "base_marks_nothing": Meaning.of("the base marks nothing that it generates"),
    "licence_forbids_to_say": Meaning.of("the licence forbids to say", source="Model Documentation Form"),
    "not_for_downstream_providers": Meaning.of("no downstream provider is offered it"),
    "part_of_no_product": Meaning.of("the system is part of no product"),
    "no_user_interface": Meaning.of("the deployer is given no user interface"),
    # --- what people stated, and why a record stands in place of another ---
    "stated_unknown": Meaning.of("{said} (stated by {by})", said="text", by="text"),
    "stated_in_old_facts": Meaning.of(
        "stated in the facts of an old record by {by}, and not signed by a person: {answer}", by="text", answer="text"
    ),
    "declared_of_base_misfits": Meaning.of(
        "what was declared with the base does not fit the field: {answer}", answer="text"
    ),
    "its_registration": Meaning.of("its registration"),
    "answers_of": Meaning.of("answers of {who:; }", who="reasons"),
    "person_as": Meaning.of("{person}, as {role}", person="text", role="text"),
    "evaluated_later": Meaning.of("evaluated after it was registered"),
    "facts_on_repeated_run": Meaning.of("facts declared on a repeated run"),
    "known_since": Meaning.of("known since it was registered"),
    # --- what was made, of what, by whom ---
    "run_that_made_it": Meaning.of("the run that made the artifact"),
    "registered_from_folder": Meaning.of("registered from a folder that was made elsewhere"),
    "person_of_signing_key": Meaning.of("whom the trust file names for the signing key {key}", key="text"),
    "sha256_of_manifest": Meaning.of("SHA-256 of manifest.json"),
    "weights_changed_here": Meaning.of("the weights were changed where this record was made"),
    "name_in_registry": Meaning.of("name in this registry"),
    "origin_of_base": Meaning.of("the origin recorded when the base was added"),
    "part_in_run": Meaning.of("its part in the run"),
    "digest_over_tensors": Meaning.of("digest over every tensor's name, type, shape, bytes"),
    "counted_over_tensors": Meaning.of("counted over the tensors"),
    "sha256": Meaning.of("SHA-256"),
    "sha256_of_each_file": Meaning.of("SHA-256 of each file"),
    "in_memory_while_training": Meaning.of("in memory while training"),
    "when_base_was_added": Meaning.of("when it was added to this registry"),
    "no_tensor_of_base": Meaning.of("the result holds no tensor of the base"),
    "whole_model": Meaning.of("the result is a whole model"),
    "slsa_provenance_v1": Meaning.of("SLSA provenance v1, signed with the registration"),
    "no_log_named": Meaning.of("no log was named"),
    # --- scans ---
    "scanned_before_registration": Meaning.of(
        "peft-registry {version}, over the files of the result before it was registered", version="text"
    ),
    "scan_not_run": Meaning.of("{scan}: not run, {because}", scan="text", because="reason"),
    "no_reason_given": Meaning.of("no reason is given"),
    "scan_of_every_file": Meaning.of("of every file"),
    "scan_of_pickles": Meaning.of("pickles, by extension and by content"),
    "scan_of_code": Meaning.of("program files, and configurations that import some"),
    "scan_of_secrets": Meaning.of("forms of keys and tokens, in the settings"),
    "scan_of_values": Meaning.of("every value of the weights"),
    "scan_of_unknown_code": Meaning.of("code that no rule above knows"),
    "no_scanner": Meaning.of("this tool has no scanner for it"),
    "scan_of_planted_behaviour": Meaning.of("behaviour that training data or the base planted"),
    "no_test_for_planted_behaviour": Meaning.of("this tool has no test for it; the bias evaluation is none"),
    # --- method, settings and software of a run ---
    "training_loop": Meaning.of("the training loop"),
    "training_file": Meaning.of("the training file"),
    "named_in_training_file": Meaning.of("the training file: {method}", method="text"),
    "resolved_training_file": Meaning.of("the resolved training file"),
    "next_token_loss": Meaning.of("next-token cross-entropy over the supervised tokens"),
    "model_trained_by": Meaning.of("the model that {trainer} trained: {method}", trainer="text", method="text"),
    "arguments_of_trainer": Meaning.of("the arguments of {trainer}", trainer="text"),
    "arguments_and_adapter_configuration": Meaning.of(
        "the arguments of {trainer}, and the configuration of the adapter that it trained", trainer="text"
    ),
    "counted_before_run": Meaning.of("counted before the run"),
    "counted_over_matrices_before_run": Meaning.of(
        "counted over the matrices of the base before the run; embeddings and output head are left out"
    ),
    "release_was_run": Meaning.of("a release was run: {version}", version="text"),
    "script_not_looked_for": Meaning.of("the script was not looked for in a repository"),
    "script_not_looked_for_file_known": Meaning.of(
        "the script was not looked for in a repository; the file that was run has the digest {digest}", digest="text"
    ),
    "sha256_of_software": Meaning.of("SHA-256 of the canonical JSON of Python, platform and libraries"),
    "installed_distributions": Meaning.of("the installed distributions"),
    "distributions_not_recorded": Meaning.of("the run did not record the distributions that it needed"),
    "sha256_of_distributions": Meaning.of(
        "SHA-256 of {lines} lines name==version, this tool and all that it needs, sorted; the names and versions are in the "
        "provenance statement",
        lines="number",
    ),
    "versions_made_with": Meaning.of("the versions that it was made with"),
    # --- change of the weights, and the product ---
    "norm_over_base": Meaning.of("‖W' − W‖_F / ‖W‖_F over the whole base"),
    "norm_of_what_is_added": Meaning.of(
        "‖Δ‖_F / ‖W‖_F over the whole base as it is stored, Δ what the adapter adds; low-rank parts from their factors"
    ),
    "trained_in_4_bits": Meaning.of("it was trained on the base in 4 bits"),
    "prompt_changes_no_weight": Meaning.of("the prompt beside it changes no weight"),
    "size_not_significance": Meaning.of("evidence of size, not a test of significance"),
    "change_of_weights_not_computed": Meaning.of("what this kind of adapter adds to the weights is not computed here"),
    "embeddings_in_front": Meaning.of("learned embeddings in front of the text are no change of any weight"),
    "keys_and_values_in_front": Meaning.of(
        "learned keys and values in front of each layer are no change of any weight"
    ),
    "chosen_by_input": Meaning.of(
        "it mixes its matrices by what it reads, so that no one change of the weights does the same"
    ),
    "network_beside": Meaning.of("a second network runs beside the layers and changes none of their weights"),
    "layers_not_linear": Meaning.of(
        "its layers are not linear, so that no change of the weights around them does the same"
    ),
    "no_norm": Meaning.of("there is none: {because}", because="reason"),
    "other_tensors_than_base": Meaning.of("not measured: the result holds other tensors than the base"),
    "every_tensor_compared": Meaning.of("every tensor of the result compared with the base's"),
    "changed_over_base": Meaning.of("parameters changed / all parameters of the base"),
    "weights_digest_of_base": Meaning.of("weights digest of the base"),
    "changed_by": Meaning.of("changed by {method}", method="text"),
    "merged_by": Meaning.of("merged by {algorithm}", algorithm="text"),
    "imported_made_by": Meaning.of("imported, made by {method}", method="text"),
    "imported_whole_model": Meaning.of("imported, made by a full fine-tune or a merge"),
    "architecture_and_method": Meaning.of("{architecture}, {made}", architecture="text", made="reason"),
    "configuration_and_method": Meaning.of("the base's configuration, and the method"),
    # --- merges ---
    "base_as_stored": Meaning.of("as it is stored, not quantised"),
    "base_through_4_bits": Meaning.of("through 4 bits and back"),
    "base_not_quantised": Meaning.of("its base was not quantised while it was trained"),
    "its_base_while_trained": Meaning.of("its base while it was trained"),
    "version_in_registry": Meaning.of("its version in this registry"),
    "version_number": Meaning.of("version number"),
    "part_in_merge": Meaning.of("its part in the merge"),
    "digest_over_adapter_tensors": Meaning.of("digest over the adapter's tensors"),
    "manifest_lists_files": Meaning.of("its manifest lists and signs each file"),
    "this_registry": Meaning.of("this registry"),
    "fold_error": Meaning.of("fold error"),
    "distance_from_trained_model": Meaning.of("distance from the trained model"),
    "distance_with_base": Meaning.of("distance, base {policy}", policy="text"),
    "registered_here": Meaning.of("it was registered here"),
    "its_manifest_digest": Meaning.of("its manifest digest"),
    "read_for_merge": Meaning.of("read from this registry for the merge"),
    "release_of_adapter_not_recorded": Meaning.of("an adapter of this registry; nobody recorded a release"),
    "placing_of_adapter_not_recorded": Meaning.of(
        "an adapter of this registry; nobody recorded a placing on the market"
    ),
    "modification_record_of": Meaning.of("modification record of {version}", version="text"),
    "signed_with_registration": Meaning.of("signed with its registration"),
    "of_adapted_base": Meaning.of("of the base that it adapts"),
    "run_in_compute_inputs": Meaning.of("its training run is in compute.inputs"),
    "manifest_of_its_record": Meaning.of("manifest that its modification record is about"),
    "nothing_random_in_merge": Meaning.of("nothing in this merge is random"),
    "seed_of_random_choice": Meaning.of("of the random choice, with adapter and tensor name"),
    "merge_that_made_it": Meaning.of("the merge that made the artifact"),
    "the_merge": Meaning.of("the merge"),
    "merge_plan": Meaning.of("the merge plan"),
    "sha256_of_merge_plan": Meaning.of("SHA-256 of the canonical merge plan"),
    "nothing_is_trained": Meaning.of("none: weights are combined, nothing is trained"),
    "base_taken_as": Meaning.of("base {policy}", policy="text"),
    "distance_accepted_by": Meaning.of("distance accepted by {by}: {reason}", by="text", reason="text"),
    "distance_accepted_by_signer": Meaning.of("distance accepted by the signer: {reason}", reason="text"),
    "weights_in_order": Meaning.of("as asked for, in the order of the sum"),
    "kept_part_of_difference": Meaning.of("kept part of each difference"),
    "every_layer_from_base": Meaning.of("every layer from the base, changed by the ingredients"),
    "copied_byte_for_byte": Meaning.of("files copied byte for byte"),
    "one_rounding_after_fp32": Meaning.of("one rounding after sums in fp32"),
    "every_tensor_compared_while_written": Meaning.of(
        "every tensor of the result compared with the base's while it was written"
    ),
    "lost_to_rounding": Meaning.of("rounding took {pct:.3g} % of the norm that was meant", pct="number"),
    "base_not_in_result": Meaning.of(
        "not measured: the result is {kind}, and the base's weights are not in it", kind="text"
    ),
    "changed_over_all": Meaning.of("parameters changed / all parameters"),
    "merge_trains_nothing": Meaning.of("a merge trains nothing"),
    "whether_tensors_of_base": Meaning.of("whether the result holds tensors of the base"),
    "narrow_and_wide_compute": Meaning.of(
        "narrow: a merge computes no gradients, 0 FLOP; wide: every training run besides the base's, each once",
        source="GL J119-121",
    ),
    "rule_for_merges": Meaning.of("the rule for merges; the narrow value alone answers no question"),
    "figures_of_merged_runs": Meaning.of(
        "the figures of each training run, from its run record; wide_flop is the sum of the conservative ones"
    ),
    "tolerance_of_guidelines": Meaning.of("the tolerance that GL J123 names; not estimated here", source="GL J123"),
    "wall_seconds_of_merge_as_days": Meaning.of("wall-clock seconds of the merge / 86 400"),
    "where_merged": Meaning.of("where it was merged"),
    "nothing_folded": Meaning.of("nothing was folded: {because}", because="text"),
    "answers_on_probe_sentences": Meaning.of("answers of reference and result on the tool's own probe sentences"),
    "evaluations_of_ingredients": Meaning.of("evaluations of the ingredients; they do not speak of the merged model"),
    # --- imports ---
    "not_beside": Meaning.of(
        "not in the imported folder: it was trained elsewhere, and nothing that lay beside it says so"
    ),
    "base_not_read": Meaning.of("not measured when it was imported: no weight of the base was read"),
    "some_tensors_replaced": Meaning.of(
        "some of its tensors are loaded in the place of the base's own: whether they differ was not measured"
    ),
    "matrices_sampled": Meaning.of(
        "not measured over the whole model: the import record compares a sample of each matrix"
    ),
    "trained_or_merged_not_beside": Meaning.of(
        "not in the imported folder: the files of a whole model do not say whether it was trained or merged"
    ),
    "quantisation_not_beside": Meaning.of(
        "not in the imported folder: nothing says whether the base was quantised while it was trained"
    ),
    "in_bits": Meaning.of("in {bits:# bit}", bits="number"),
    "data_did_not_come_in": Meaning.of("not in the imported folder: the data itself did not come in"),
    "file_not_named": Meaning.of("a file that is not named"),
    "files_beside_weights": Meaning.of(
        "the files beside the weights; which one says what is in the provenance statement"
    ),
    "files_beside_weights_with_estimate": Meaning.of(
        "the files beside the weights; total_flos is the trainer's own estimate and leaves the embeddings out"
    ),
    "too_few_tokens": Meaning.of(
        "{said_by}, says {tokens:g} tokens, and {because}: so small a figure is of no training",
        said_by="reason",
        tokens="number",
        because="reason",
    ),
    "steps_read_more": Meaning.of("{steps:g} steps of {rows:# row} read more", steps="number", rows="number"),
    "rows_have_more": Meaning.of("the {rows:g} rows that its speed and time give have more", rows="number"),
    "dense_formula_tokens_said_by": Meaning.of("6·P·D; P all parameters of the base, D by {said_by}", said_by="reason"),
    "seconds_as_days_said_by": Meaning.of("{said_by}, / 86 400", said_by="reason"),
    # --- terms of bases and licences ---
    "flags_with_exclusion": Meaning.of(
        "the flags ({flags}) with the exclusion of the Union ({exclusion}: {by})",
        flags="text",
        exclusion="text",
        by="reason",
    ),
    "neither_yes_nor_no": Meaning.of("what is stated is neither yes nor no: {answer}", answer="text"),
    "flags_not_all": Meaning.of("the licence flags that are recorded are not all that there may be"),
    "by_licence_flags": Meaning.of("the licence flags ({flags})", source="GL J58", flags="text"),
    "not_one_licence": Meaning.of("what went in has not one licence: {licences}", licences="reasons"),
    "of_the_base": Meaning.of("the base {base}", base="reason"),
    "same_licence": Meaning.of(
        "the licence of the base and of {ingredients:and}, which is the same", ingredients="names"
    ),
    "sha256_of_base_file": Meaning.of("SHA-256 of {path} among the base's files", path="text"),
    "several_licence_files": Meaning.of(
        "the base has several licence files, and which of them holds is not stated: {files}", files="names"
    ),
    "no_licence_file": Meaning.of("there is no licence file among the base's files"),
    "files_not_recorded": Meaning.of("its files are not recorded"),
    "no_licence_recorded": Meaning.of("no licence is recorded"),
    "terms_not_from_name": Meaning.of(
        "the terms of the licence {licence} do not follow from its name: nobody has read it", licence="text"
    ),
    "terms_from_name": Meaning.of("the text that the identifier names has this term: {licence}", licence="text"),
    "generates_nothing_named": Meaning.of("the result generates neither language nor images nor video"),
    "generation_not_recorded": Meaning.of(
        "whether a {architecture} generates language, images or video is not recorded", architecture="text"
    ),
    "its_compute_not_recorded": Meaning.of("neither its training compute nor its training tokens are recorded"),
    "its_compute_too_large": Meaning.of("its parameters and training tokens give more than any number"),
    "flop_as_recorded": Meaning.of("as recorded for it"),
    "flop_from_parameters_and_tokens": Meaning.of("6·P·D from its parameters and training tokens"),
    "flop_against_gpai": Meaning.of(
        "{flop:.3g} FLOP ({how}) against 10^23, and it generates {generates: and }; indicative only, exceptions go both ways, "
        "GL J17-20",
        source="GL J17-20",
        flop="number",
        how="reason",
        generates="names",
    ),
    # --- data of a run ---
    "tokenizer_of_base": Meaning.of("the base's tokenizer"),
    "sha256_of_file": Meaning.of("SHA-256 of the file"),
    "rows_that_were_used": Meaning.of("the rows that were used"),
    "count_of_rows_used": Meaning.of("rows that were used"),
    "read_as": Meaning.of("read as {format}", format="text"),
    "row_of_file_is_data_point": Meaning.of("one row of the file is one data point"),
    "data_set_has_no_name": Meaning.of("the trainer's data set has no name"),
    "name_of_data_set": Meaning.of("as the trainer's data set is called"),
    "token_ids_in_rows": Meaning.of("token ids in the rows, each row once"),
    "sha256_of_rows": Meaning.of("SHA-256 of the canonical JSON of the rows, one a line"),
    "rows_given_to_trainer": Meaning.of("the rows that the trainer was given"),
    "row_of_data_set_is_data_point": Meaning.of("one row of the trainer's data set is one data point"),
    "bytes_of_rows": Meaning.of("of the canonical JSON of the rows"),
    # --- data of several files and runs ---
    "count_of": Meaning.of("{of} {count}", of="text", count="number"),
    "open_of": Meaning.of("{of} ({because})", of="text", because="reason"),
    "stated_of_file": Meaning.of("{of} {answer: + }", of="text", answer="names"),
    "different_units": Meaning.of("the files count in different units"),
    "files_have_no_sum": Meaning.of("what is recorded of the files has no sum"),
    "files_have_no_share": Meaning.of("what is recorded of the files has no share"),
    "files_are_empty": Meaning.of("the files are empty"),
    "sum_over_files": Meaning.of("the sum over the files, each once: {counts}", counts="reasons"),
    "at_least_sum_over_files": Meaning.of("at least: the sum over the files, each once: {counts}", counts="reasons"),
    "of_any_file": Meaning.of("of any of the files: {files}", files="reasons"),
    "class_of_each_file": Meaning.of("of each file"),
    "class_not_stated_of": Meaning.of("from the class of each file; not stated of {files:and}", files="names"),
    "share_of_synthetic_files": Meaning.of("{unit} of the synthetic files / those of all files", unit="text"),
    "share_of_synthetic_files_of_bounds": Meaning.of(
        "{unit} of the synthetic files / those of all files, which are lower bounds", unit="text"
    ),
    "not_known_of_files": Meaning.of("not known of {files:and}", files="reasons"),
    "not_known_of_some_files": Meaning.of("not known of {files:and}; {stated}", files="reasons", stated="reasons"),
    "every_row_used": Meaning.of("every row of the file, which {by} used; {counts}", by="text", counts="reasons"),
    "selections_once": Meaning.of("selections with one digest once; {counts}", counts="reasons"),
    "at_least_most_of_one_run": Meaning.of(
        "at least: the most that one run used, of {counts}; at most {most}: which rows several runs used is not recorded",
        counts="reasons",
        most="number",
    ),
    "trained_on_what_was_held_out": Meaning.of(
        "{file}: {trained:and} trained on it, {held_out} held it out", file="text", trained="names", held_out="text"
    ),
    "held_out_perhaps_the_same": Meaning.of(
        "{file}: {trained:and} trained on it, {held_out} held rows of it out, perhaps the same",
        file="text",
        trained="names",
        held_out="text",
    ),
    "different_selections": Meaning.of(
        "{file}: {runs:and} used different selections of its rows", file="text", runs="names"
    ),
    # --- what the records of what went in say ---
    "as_recorded_of": Meaning.of("as recorded of {of:and}", of="names"),
    "says": Meaning.of("{of} says {answer}", of="text", answer="text"),
    "base_says": Meaning.of("the base says {answer}", answer="text"),
    "records_differ": Meaning.of("the records of what went in differ: {answers}", answers="reasons"),
    "open_of_each": Meaning.of("{open}", open="reasons"),
    "not_known_of_some": Meaning.of("not known of {open}; {answers}", open="reasons", answers="reasons"),
    "not_answered_of_result": Meaning.of(
        "nobody has answered it of this result; of what went in: {answers}", answers="reasons"
    ),
    "data_not_recorded": Meaning.of("nothing is recorded of what {of} was trained on", of="text"),
    "no_record_of_data": Meaning.of("it has no record of its data"),
    "one_file_several_names": Meaning.of("one file, which the runs had under several names"),
    "several_files_one_name": Meaning.of("several files have this name, and are told apart by the runs that used them"),
    "rows_of_each_run": Meaning.of("the rows that each run used"),
    "passes_of_all_runs": Meaning.of("passes of all runs: {passes}", passes="reasons"),
    "held_out_rows_left_not_stated": Meaning.of(
        "which held-out rows are left is not stated: {files:; }", files="reasons"
    ),
    "rows_used_several_times_not_recorded": Meaning.of(
        "which rows were used several times is not recorded: {files:; }", files="reasons"
    ),
    "held_out_figures_too_good": Meaning.of("figures on held-out rows may be too good: {because}", because="reason"),
    "own_licence_not_recorded": Meaning.of(
        "nothing is recorded of its licence, and that of its base is not taken for it"
    ),
    "licence_in_record_of": Meaning.of("the licence of the result in the record of {of}", of="text"),
    "of_adapted_base_by_records": Meaning.of("of the base that it adapts, as the records of its adapters say"),
    "union_of_flags": Meaning.of("union of the flags of the base and of those that were answered"),
    "synthetic_compute_not_recorded": Meaning.of("not recorded of {of}", of="names"),
    "synthetic_compute_recorded_of_some": Meaning.of("not recorded of {of}; {figures}", of="names", figures="reasons"),
    "synthetic_compute_of_each_training": Meaning.of(
        "as recorded of each training, the same data once: {figures}", source="GL J119-120", figures="reasons"
    ),
    "perhaps_the_same_data": Meaning.of(
        "the records do not say whether the figures are of the same data: {pairs:; } ({figures})",
        pairs="reasons",
        figures="reasons",
    ),
    "pair_of": Meaning.of("{first} and {second}", first="text", second="text"),
    "flop_of": Meaning.of("{of} {flop:.4g} FLOP", of="text", flop="number"),
    # --- compute ---
    "not_a_number": Meaning.of("the value is not a number"),
    "no_run_recorded": Meaning.of("no training run is recorded"),
    "compute_of_run_not_recorded": Meaning.of("the compute of this run is not recorded"),
    "compute_of_runs_not_recorded": Meaning.of("the compute of {runs} is not recorded", runs="names"),
    "dense_formula": Meaning.of("6·P·D"),
    "formula_of_conservative_figure": Meaning.of("the formula of the conservative figure"),
    "dense_flop_of_run_alone": Meaning.of("6·P·D of this run alone"),
    "inputs_of_dense_formula": Meaning.of(
        "P all parameters of the base, D tokens with padding, virtual tokens, repeats over epochs and trials"
    ),
    "inputs_of_dense_formula_followed": Meaning.of(
        "P all parameters of the base, D positions that went through the model while it was trained, with padding, repeats over "
        "epochs and passes of a reference model"
    ),
    "inputs_solved_for_positions": Meaning.of(
        "P all parameters of the base; D = figure / (6·P), because the run did not record its virtual tokens"
    ),
    "figures_of_runs_added_up": Meaning.of("the figures of each run, which are added up, from its run record"),
    "sum_of_run_and_earlier": Meaning.of(
        "{figure} of this run and of every run that it went on from, each once", source="GL J119-121", figure="text"
    ),
    "sum_of_merged_runs": Meaning.of(
        "wide value: {figure} of every training run among the ingredients, each once",
        source="GL J119-121",
        figure="text",
    ),
    "tolerance_of_guidelines_for_run": Meaning.of(
        "the tolerance that GL J123 names; not estimated for this run", source="GL J123"
    ),
    "wall_seconds_as_days": Meaning.of("wall-clock seconds / 86 400"),
    "device_hours_as_days": Meaning.of("device hours / 24"),
    "from_training_days": Meaning.of("from the training time in days"),
    "dense_flop_of_modification": Meaning.of("6·P·D of this modification"),
    "dense_flop_of_run_and_earlier": Meaning.of("6·P·D of this run and of every run that it went on from"),
    "dense_flop_of_all_merged": Meaning.of("6·P·D of every training run that went in, each once"),
    "compute_of_the_base": Meaning.of("training compute of the base"),
    "compute_of_bases": Meaning.of("training compute of {bases} bases, each once,", bases="number"),
    "compute_of_synthetic_data": Meaning.of("the compute that generated synthetic data"),
    "cumulative_compute": Meaning.of("{summands: + }, GL J119-121", source="GL J119-121", summands="reasons"),
    "compute_of_base_or_modification_not_known": Meaning.of(
        "the compute of the base or of the modification is not known"
    ),
    "compute_of_synthetic_data_not_recorded": Meaning.of(
        "the compute that generated the synthetic data is not recorded, GL J119-120", source="GL J119-120"
    ),
    "sum_too_large": Meaning.of("the sum of the figures is larger than any number"),
    "quotient_too_large": Meaning.of("the quotient is larger than any number"),
    # --- the modifier's status ---
    "scope_modification_alone": Meaning.of("this modification alone"),
    "scope_run_and_earlier": Meaning.of("this run and every run that it went on from"),
    "scope_all_merged": Meaning.of(
        "compute of everything that was merged besides the base; that of the merge alone decides nothing"
    ),
    "not_one_base": Meaning.of("there is not exactly one base to compare with"),
    "recorded_of_base_misfits": Meaning.of(
        "what is recorded of the base as {field} is not one: {figure:g}", field="text", figure="number"
    ),
    "base_compute_as_recorded": Meaning.of("training compute of the base as recorded for it"),
    "base_compute_estimated": Meaning.of(
        "6·P·D from the base's parameters and training tokens, GL J132", source="GL J132"
    ),
    "base_compute_not_recorded": Meaning.of(
        "neither the training compute nor the training tokens of the base are recorded"
    ),
    "base_compute_too_large": Meaning.of(
        "6·P·D from the base's parameters and training tokens is larger than any number"
    ),
    "base_compute_not_known": Meaning.of("the training compute of the base is not known"),
    "base_compute_known_or_estimated": Meaning.of("the training compute of the base is known or estimated"),
    "own_compute_not_known": Meaning.of("the compute of this modification is not known"),
    "no_ratio": Meaning.of("the compute of this modification and that of the base have no ratio"),
    "ratio_dense": Meaning.of(
        "compute of the modification / training compute of the base, GL J63, with 6·P·D", source="GL J63"
    ),
    "ratio_method_aware": Meaning.of(
        "compute of the modification / training compute of the base, GL J63, with the method-aware figure",
        source="GL J63",
    ),
    "ratio_of_modification_alone": Meaning.of(
        "compute of the modification / training compute of the base, GL J63, with 6·P·D of this modification alone",
        source="GL J63",
    ),
    "ratio_with_tolerance": Meaning.of(
        "the ratio with ±{pct:g} % on both figures, GL J123", source="GL J123", pct="number"
    ),
    "merge_computes_no_gradients": Meaning.of("a merge computes no gradients; gpai.ratio counts what went in"),
    "third_of_base_compute": Meaning.of("a third of the training compute of the base, GL J63", source="GL J63"),
    "third_of_fixed_value": Meaning.of("a third of the fixed value, GL J64", source="GL J64"),
    "estimate_attempt_recorded": Meaning.of(
        "the training compute of the base is not known, and an attempt to estimate it is recorded, GL J64",
        source="GL J64",
    ),
    "from_claimed_role": Meaning.of("from the role that the modifier claims"),
    "licence_of_base_disqualifies": Meaning.of(
        "the licence of a base, which holds for what is made from it: {flags}, GL J83", source="GL J83", flags="names"
    ),
    "cumulative_against_systemic_risk": Meaning.of(
        "cumulative compute against 10^25 FLOP (Art. 51(2)), and what is stated of the bases", source="Art. 51(2)"
    ),
    "cumulative_not_known": Meaning.of("the cumulative compute is not known"),
    "systemic_risk_of_base_not_stated": Meaning.of("nobody has said whether the base is a model with systemic risk"),
    "undetermined": Meaning.of("undetermined: {because}", because="reason"),
    "answers_not_recorded": Meaning.of("not recorded is {questions:; }", questions="reasons"),
    "whether_media_generated": Meaning.of("whether the result generates images, audio or video"),
    "whether_placed": Meaning.of("whether the result is placed on the Union market"),
    "whether_same_provider": Meaning.of("whether the modifier is the provider of the base or acts for it"),
    "whether_union_excluded": Meaning.of("whether the licence of the base excludes the Union"),
    "whether_base_is_gpai": Meaning.of("whether the base is a general-purpose model"),
    "compute_of_all": Meaning.of("the training compute of all that went in"),
    "whether_base_has_systemic_risk": Meaning.of("whether the base has systemic risk"),
    "compute_of_modification": Meaning.of("the compute of this modification"),
    "base_compute_or_attempt": Meaning.of("the training compute of the base, or what was tried to estimate it"),
    "whether_significant": Meaning.of("whether the change is significant"),
    "whether_internal_use_is_placing": Meaning.of(
        "whether the high-risk system is in use: its use within one's own organisation affects rights of persons and counts as "
        "placing on the market, so the answer is yes; a system that is not in use yet does not count",
        source="GL J57, recital 97",
    ),
    "whether_in_system": Meaning.of("whether the result is part of a system", source="GL J58-59"),
    "ratio_is_of_another_actor": Meaning.of(
        "the modifier is the provider of the base or acts for it, and the criterion is for others", source="GL J60"
    ),
    "row_of_decision_table": Meaning.of(
        "row {row} of the decision table, from recorded answers; indicative. Decision support, not legal advice. Rule set "
        "{rule_set}, law as of {law_as_of}",
        row="text",
        rule_set="text",
        law_as_of="text",
    ),
    # --- how long it is kept ---
    "kept_from_placing": Meaning.of(
        "{years} years from placing on the market; not placed, kept without end", years="number"
    ),
    "calendar_years_after_placing": Meaning.of(
        "{years} calendar years after placing, Art. 18, Art. 54(3)(b), CoP measure 1.1; used for every record",
        source="Art. 18, Art. 54(3)(b), CoP measure 1.1",
        years="number",
    ),
    "law_of_documentation_period": Meaning.of(
        "Art. 18 (high-risk systems), Art. 54(3)(b) (representatives), CoP measure 1.1; used for every record",
        source="Art. 18, Art. 54(3)(b), CoP measure 1.1",
    ),
    "day_of_placing": Meaning.of("the day of placing on the Union market ({stated})", stated="text"),
    "calendar_ends": Meaning.of("the calendar ends before {years} years after {begins}", years="number", begins="text"),
    "not_a_date": Meaning.of("'{stated}' is not a date", stated="text"),
    "not_placed": Meaning.of(
        "not placed on the Union market: kept without end; {years} years begin on the day of placing", years="number"
    ),
    "day_of_placing_not_recorded": Meaning.of(
        "the day of placing on the Union market is not recorded: kept without end until it is"
    ),
    "placing_not_recorded": Meaning.of(
        "whether and when it was placed on the Union market is not recorded: kept without end until it is"
    ),
    # --- energy ---
    "why_energy_unknown": Meaning.of("why the energy is unknown"),
    "no_energy_figure": Meaning.of("no sensor measured it, and nobody has stated it or the power of a device"),
    "energy_is_declared": Meaning.of("nothing is missing: the energy is declared"),
    "run_names_no_method": Meaning.of("the run names no method"),
    "energy_counters": Meaning.of("counters of processor packages (RAPL) and GPUs (NVML), whole machine"),
    "counters_of_chips": Meaning.of("the counters are of the chips that compute, and of nothing around them"),
    "outside_of_counters": Meaning.of(
        "memory boards, storage, fans and power supplies of the machine, and the facility's cooling"
    ),
    "what_counters_miss": Meaning.of("what those counters do not see"),
    "power_is_declared": Meaning.of("the power is declared and was not measured"),
    "cooling_not_recorded": Meaning.of("the facility's cooling: no power usage effectiveness is recorded"),
    "hours_times_watts": Meaning.of("{hours:.6g} device hours × {watts:.6g} W", hours="number", watts="number"),
    "hours_times_watts_times_pue": Meaning.of(
        "{hours:.6g} device hours × {watts:.6g} W × power usage effectiveness {pue:.6g}",
        hours="number",
        watts="number",
        pue="number",
    ),
    "in_thousands": Meaning.of("{of}, / 1000", of="reason"),
    "power_declared_by": Meaning.of("the power of one device: declared by {by}", by="text"),
    "power_given_as": Meaning.of("the power of one device: {given_as}", given_as="text"),
    "power_of_one_device": Meaning.of("the declared power is that of one device"),
    "pue_of_facility": Meaning.of("the power usage effectiveness is a figure of the whole facility"),
    "what_estimate_leaves_out": Meaning.of("what the estimate leaves out"),
    # --- what the forms ask for ---
    "under_1_month": Meaning.of("<1 month", source="Model Documentation Form"),
    "from_1_to_3_months": Meaning.of("1-3 months", source="Model Documentation Form"),
    "from_3_to_6_months": Meaning.of("3-6 months", source="Model Documentation Form"),
    "over_6_months": Meaning.of(">6 months", source="Model Documentation Form"),
    "under_1_billion_tokens": Meaning.of("<1 B tokens", source="C(2025) 8311, field 1.3"),
    "from_1_billion_to_10_trillion_tokens": Meaning.of("1 B-10 T tokens", source="C(2025) 8311, field 1.3"),
    "over_10_trillion_tokens": Meaning.of(">10 T tokens", source="C(2025) 8311, field 1.3"),
    "added_or_removed_not_known": Meaning.of("how many parameters were added or removed is not known"),
    "figures_too_large": Meaning.of("the figures are larger than any number"),
    "base_plus_added_minus_removed": Meaning.of("parameters of the base + added − removed"),
    "range_of_form": Meaning.of("the range of the form that holds it", source="Model Documentation Form"),
    "range_of_summary": Meaning.of(
        "the tokens of all data, once through, as the range of the summary", source="C(2025) 8311, field 1.3"
    ),
    "once_through": Meaning.of("once through"),
    "no_data_recorded": Meaning.of("no data are recorded"),
    "not_all_text": Meaning.of("not all data are text"),
    "tokens_not_counted": Meaning.of("the tokens of one of the data files are not counted"),
    "acquired_until_not_stated": Meaning.of("until when the data were acquired is not stated of each"),
    "last_acquisition": Meaning.of("the last day of acquisition of any data"),
    "no_gradients": Meaning.of("no gradients were computed"),
    "order_of_magnitude": Meaning.of("the order of magnitude of the compute in FLOP"),
    "kwh_per_thousand": Meaning.of("kWh / 1000"),
    "one_significant_figure": Meaning.of("rounded to one significant figure"),
    "one_significant_figure_at_least": Meaning.of(
        "the least that it can be, rounded to one significant figure: of some rows nobody can tell whether they are the same"
    ),
    # --- use ---
    "context_length_configured": Meaning.of("context length in the base's configuration"),
    "input_and_output_share_context": Meaning.of("input and output share the context"),
    "base_is_a": Meaning.of("the base is a {architecture}", architecture="text"),
    "memory_for_weights": Meaning.of("{gigabytes:.2g} GB for the weights in {dtype}", gigabytes="number", dtype="text"),
    "parameters_times_bytes": Meaning.of("parameters × bytes of one value; activations and cache come on top"),
}

TEXTS_BEFORE: dict[str, str] = {
    "fold_error": "fold error",
    "distance_from_trained_model": "distance from the trained model",
    "distance_with_base": "distance, base (original|dequantised)",
    "kept_from_placing": "[0-9]+ years from placing on the market; not placed, kept without end",
    "neither_yes_nor_no": "what is stated is neither yes nor no: .*",
    "not_one_licence": "what went in has not one licence: .*",
    "not_answered": "nobody has answered it",
    "not_measured": "not measured or not recorded",
    "inputs_not_recorded": "what it follows from is not recorded",
    "not_answered_at_init": "not answered at init",
    "training_loop": "the training loop",
    "at_least_most_of_one_run": "at least: .*",
    "records_differ": "the records of what went in differ: .*",
    "energy_counters": r"counters of processor packages \(RAPL\) and GPUs \(NVML\), whole machine",
    "why_energy_unknown": "why the energy is unknown",
    "not_stated_upstream": "not stated by the provider of the base, or not looked up",
}
"""By code, as a regular expression, the text that said the same in records from before there were codes: of those on which
something depends (`says`)."""
