"""Fine-grained person re-identification: the CUHS network, its data, its training and its evaluation."""
