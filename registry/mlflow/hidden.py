"""What MLflow's pages do not show here: buttons of what is refused, and pages of what is not recorded. Pure.

MLflow names its buttons for its own statistics. Such a name may change with a release: a button that shows again is refused by the
stores, with what to type instead. Names end in the line of their source, so most are given by their beginnings.
"""

BUTTONS = (
    # registered models: new ones, descriptions, tags, aliases, versions under another name
    "CreateModelButton",
    "components_modelview.tsx_467",
    "modelversionview.tsx_516",
    "editableformtable",
    "editabletagstableview",
    "keyvaluetagseditorcell",
    "modelversiontablealiasescell",
    "modelversionviewaliaseditor",
    "promotemodelbutton",
    "RegisterModel",
    "register-model-button",
    # experiments: new ones, names, notes, tags
    "new_experiment_button",
    "bulk_delete_button",
    "experiment.list.tag.add",
    "saved_views.trigger",
    "metadata_editor.edit_button",
    # runs: new ones, names, descriptions, tags; the menu at the head of a page renames and deletes
    "runscontrolsfilters.tsx_415",
    "runscontrolsactions.tsx_110",
    "runscontrolsactions.tsx_117",
    "runscontrolsactions.tsx_126",
    "runscontrolsactionsselecttags",
    "runviewdescriptionbox",
    "overview.tags.add_button",
    "overview.tags.edit_button",
    "pageheader.tsx_54",
    # logged models
    "logged_model.details.more_actions",
    "details.description.edit",
    # the view for agents, its prompts, demonstrations and connections
    "sidebar.workflow_switch",
    "sidebar.prompts_tab_link",
    "sidebar.mcp_registry_tab_link",
    "sidebar.settings_llm_connections_link",
    "sidebar.settings_webhooks_link",
    "demo-banner",
)
"""Parts of the names of buttons, in whatever case."""

_ELSE = (
    "[data-assistant-ui]",
    # traces of agents: a link beside the runs of an experiment, and a tab of a run
    'a[href*="/traces"]',
    '[role="tab"][id$="-trigger-evaluations"]',
)


def style() -> str:
    """CSS that hides all of it, and shows each tag of a model in the list of models."""
    named = (f'html body [data-component-id*="{part}" i]' for part in BUTTONS)
    return (
        f"{','.join((*named, *_ELSE))}{{display:none!important}}"
        '[data-testid="models-table-tag-entry"]{display:block!important}'
    )
