"""From a data file to batches: containers → formats → tokens → collated tensors. Rows are never quoted in an error."""
