"""Result files of other load generators as requests of the workbench, so that all loads stand in the same words."""
