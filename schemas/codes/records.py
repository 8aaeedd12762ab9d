"""The codes of modification records: how a value came about, and why there is none."""

from peft_registry.schemas.codes.meaning import Meaning

RECORD_CODES: dict[str, Meaning] = {
    # --- of codes ---
    "together": Meaning.of("{parts:; }", parts="reasons"),
    "in_turn": Meaning.of("{parts}", parts="reasons"),
    "in_its_own_record": Meaning.of("its own record says why"),
    # --- why a field is open until somebody or something fills it ---
    "not_answered": Meaning.of("nobody has answered it"),
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
    # --- use ---
    "context_length_configured": Meaning.of("context length in the base's configuration"),
    "input_and_output_share_context": Meaning.of("input and output share the context"),
    "base_is_a": Meaning.of("the base is a {architecture}", architecture="text"),
    "memory_for_weights": Meaning.of("{gigabytes:.2g} GB for the weights in {dtype}", gigabytes="number", dtype="text"),
    "parameters_times_bytes": Meaning.of("parameters × bytes of one value; activations and cache come on top"),
}

TEXTS_BEFORE: dict[str, str] = {
    "not_answered": "nobody has answered it",
    "not_measured": "not measured or not recorded",
    "inputs_not_recorded": "what it follows from is not recorded",
    "not_answered_at_init": "not answered at init",
    "not_stated_upstream": "not stated by the provider of the base, or not looked up",
}
"""By code, as a regular expression, the text that said the same in records from before there were codes: of those on which
something depends (`says`)."""
