"""The processes that do the work: the worker, the engine it feeds, and the housekeeper."""
