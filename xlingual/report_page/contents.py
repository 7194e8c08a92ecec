"""The sections of a report, in the order of the page."""

from collections.abc import Sequence

from xlingual.report_page import (
    sample_section,
    text_sections,
    training_sections,
    transfer_sections,
)
from xlingual.report_page.runs import Run
from xlingual.report_page.sections import Section


def make_sections(runs: Sequence[Run]) -> list[Section]:
    """Returns all sections; one without data says what makes them.

    Args:
      runs: the first is what others are compared with.
    """
    return [
        training_sections.summary_section(runs),
        training_sections.training_section(runs),
        training_sections.loss_section(runs),
        training_sections.shares_section(runs),
        transfer_sections.directions_section(runs),
        transfer_sections.retrieval_section(runs),
        transfer_sections.layers_section(runs),
        text_sections.premium_section(runs),
        sample_section.samples_section(runs),
        text_sections.others_section(runs),
        text_sections.settings_section(runs),
        # The last one: it tells what the others could not read.
        text_sections.files_section(runs),
    ]
