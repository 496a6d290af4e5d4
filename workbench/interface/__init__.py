"""The frame that every question is shown in: controls, tables, cards, plots, reports and commands. HTML is made here alone."""
