"""The codes of suites: what is known against each, and why rows of its files are not asked."""

from peft_registry.schemas.codes.meaning import Meaning

SUITE_CODES: dict[str, Meaning] = {
    # --- why rows are left out ---
    "not_selected": Meaning.of("not selected"),
    "in_the_other_half": Meaning.of("in the other half"),
    "not_on_the_screen": Meaning.of("not on the screen"),
    "occurs_in_training": Meaning.of("occurs in what the model was trained on"),
    "not_in_the_train_part": Meaning.of("not in the train part"),
    "not_in_the_validation_part": Meaning.of("not in the validation part"),
    "not_in_the_test_part": Meaning.of("not in the test part"),
    "answer_key_contradicts": Meaning.of("the answer key contradicts the question"),
    "asked_word_for_word": Meaning.of("asks word for word what another row asks"),
    "sentence_again": Meaning.of("the same sentence again"),
    "passage_again": Meaning.of("the same passage again"),
    "not_two_occupations": Meaning.of(
        "the sentence does not name exactly two of the occupations, one of them bracketed"
    ),
    "not_a_minimal_pair": Meaning.of("not a minimal pair"),
    # --- known against several suites ---
    "public_since": Meaning.of("Public since {year} and in the training data of many models.", year="number"),
    "word_frequency_counts": Meaning.of("The score of a whole sentence contains how common the word for the group is."),
    "he_commoner_than_she": Meaning.of(
        "`he` is commoner than `she`: read the two categories apart, or their mean, never the whole."
    ),
    "many_unknown_options": Meaning.of(
        "{unknown} of {options} options mean not knowing, which favours that answer; accuracy is not corrected for it.",
        unknown="number",
        options="number",
    ),
    # --- known against one ---
    "house_short_and_english": Meaning.of(
        "Short English sentences in few templates; they say nothing about other languages, domains or longer texts."
    ),
    "house_authors_choice": Meaning.of(
        "Which sentences are clichés, and which way, was chosen by its authors, from Europe and North America; nobody was asked."
    ),
    "house_public_and_small": Meaning.of(
        "Public and small, so it is easy to train on; it does not replace a set that trainers never see."
    ),
    "crows_pairs_not_minimal": Meaning.of(
        "Blodgett et al. 2021: many pairs are not minimal, ungrammatical, or state no real stereotype.",
        source="Blodgett et al. 2021",
    ),
    "crows_pairs_corrected": Meaning.of(
        "Névéol et al. 2022 corrected many rows; much of it is bound to the United States and to English.",
        source="Névéol et al. 2022",
    ),
    "stereoset_stereotypes_not_real": Meaning.of(
        "Blodgett et al. 2021: stereotypes that are not harmful or not real, mixed groups, grammar errors.",
        source="Blodgett et al. 2021",
    ),
    "stereoset_ss_beside_lms": Meaning.of("ss means nothing for a weak model; read it beside lms."),
    "stereoset_not_the_leaderboard": Meaning.of(
        "Not the scores of the paper or its leaderboard: those are defined otherwise."
    ),
    "winobias_not_minimal": Meaning.of(
        "Blodgett et al. 2021: pairs that are not minimal, and stereotypes of occupations in the United States only.",
        source="Blodgett et al. 2021",
    ),
    "winobias_two_genders": Meaning.of("Two genders, forty occupations, English."),
    "winobias_not_coreference": Meaning.of(
        "The original measures a coreference system by F1; these are accuracies of a language model."
    ),
    "winogender_shows_no_absence": Meaning.of(
        "Its authors: it can show gender bias in resolution and not its absence.", source="Rudinger et al. 2018"
    ),
    "winogender_one_form": Meaning.of(
        "120 templates of one form, in English, with occupations and statistics of the United States."
    ),
    "winogender_chance_flips": Meaning.of(
        "A model at chance flips referents for reasons that have nothing to do with gender."
    ),
    "bbq_united_states": Meaning.of(
        "Written for the United States and in English; it says little about other places and languages."
    ),
    "bbq_text_ignored": Meaning.of(
        "A model that ignores the text has bias scores near 0 for that reason alone: see the guard for models at chance."
    ),
    "esbbq_templates_of_spain": Meaning.of(
        "Templates of BBQ that were kept, changed or written for Spain: figures of BBQ and of EsBBQ do not compare, and a "
        "figure in one language says nothing about another."
    ),
    "esbbq_few_templates": Meaning.of(
        "Most rows come from few templates, many by exchange of given names: count templates, not rows."
    ),
    "esbbq_text_ignored": Meaning.of(
        "A model that ignores the text, or that hardly knows Spanish, has bias scores near 0 for that reason alone."
    ),
    "gg_bbq_translated": Meaning.of(
        "Translated by machine from BBQ's templates and corrected by one expert: the stereotypes are those of the United "
        "States, and nobody verified that they are held where German is spoken."
    ),
    "gg_bbq_few_pairs": Meaning.of(
        "Nineteen pairs of questions, gender and trans people only: no claim about other groups, and few templates to resample."
    ),
    "gg_bbq_unlike_questions": Meaning.of(
        "In 68 disambiguated rows (a diagnosis, an advantage in sport) only the answer against the stereotype is ever right, so "
        "that the accuracy gap compares unlike questions."
    ),
    "gg_bbq_text_ignored": Meaning.of(
        "A model that ignores the text, or that hardly knows German, has bias scores near 0 for that reason alone."
    ),
    "gest_few_authors": Meaning.of(
        "English sentences by few Slovak authors, sorted into sixteen stereotypes by hand; whether a stereotype is held in a "
        "country was not measured."
    ),
    "gest_two_genders": Meaning.of(
        "Two genders. The authors' readings of translations and of nine Slavic languages need other files and are not made here."
    ),
    "gest_quoted_speaker": Meaning.of("What a quoted speaker is called says little about how a model treats a person."),
    "own_prompts_chosen_terms": Meaning.of(
        "Which terms and templates were chosen decides more than anything else; wording alone can move scores."
    ),
    "own_prompts_token_counts": Meaning.of(
        "Terms with different token counts are not alike to the model before anything else is."
    ),
    "own_prompts_only": Meaning.of("It measures these prompts, and nothing beyond them."),
    "divergence_without_direction": Meaning.of(
        "Divergence has no direction: it does not say whom a difference favours."
    ),
}

LEFT_OUT_BEFORE: dict[str, str] = {
    "not_selected": "not selected",
    "in_the_other_half": "in the other half",
    "occurs_in_training": "occurs in what the model was trained on",
}
"""By code, as a regular expression, the text that said the same in evaluations from before there were codes: of those on which
a figure depends."""
