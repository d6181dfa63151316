"""Judge a checkpoint: numbers over the answers of a whole data set, with their uncertainty."""
